"""The table of everything `up`, `images` and `tools` do, in one place: what needs what, and on which lane it waits.

The order in the table is the order of preference when several tasks could start: what others wait for comes first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property, partial

from serin_devcluster import addons, disk, gobuild, load
from serin_devcluster.buildah import Buildah
from serin_devcluster.containerd import Ctr
from serin_devcluster.graph import Lane, Task
from serin_devcluster.images import DEBIAN, Catalog
from serin_devcluster.node import Node
from serin_devcluster.packages import install_missing, missing_packages
from serin_devcluster.paths import Paths

BIG_IMAGE = "base"
FIRST = ("packages", "fetch-etcd", "fetch-kubernetes", f"image-{DEBIAN}", f"image-{BIG_IMAGE}")


class Tasks:
    """Builds the tables for one cache and one checkout."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.buildah = Buildah(paths)
        self.ctr = Ctr()
        self.catalog = Catalog()

    @cached_property
    def node(self) -> Node:
        return Node(self.paths, self.catalog.references["busybox"])

    def needed_disk(self) -> int:
        """How many gigabytes what is still to be made takes, at its peak."""
        if not gobuild.KUBERNETES.is_built(self.paths) or not self.paths.buildah.exists():
            return disk.COLD_GIB
        big = self.catalog.references.get(BIG_IMAGE)
        return disk.IMAGES_GIB if big is not None and not self.buildah.has(big) else disk.WARM_GIB

    def check_disk(self) -> None:
        disk.require_free(self.paths.cache, self.needed_disk())

    def tools(self, tools: Iterable[gobuild.GoTool] = gobuild.TOOLS) -> list[Task]:
        """Fetch and build: the next tool's modules are downloaded while one compiles."""
        wanted = tuple(tools)
        fetch = [
            Task(
                f"fetch-{tool.name}",
                f"downloading the Go modules of {tool.name}",
                partial(gobuild.fetch, tool),
                Lane.NETWORK,
                is_done=partial(tool.is_built, self.paths),
            )
            for tool in wanted
        ]
        build = [
            Task(
                f"tool-{tool.name}",
                f"compiling {tool.name}",
                partial(gobuild.build, tool, self.paths),
                needs=(f"fetch-{tool.name}",),
                is_done=partial(tool.is_built, self.paths),
            )
            for tool in wanted
        ]
        return [*fetch, *build]

    def packages(self) -> Task:
        return Task(
            "packages",
            "installing Debian packages",
            install_missing,
            Lane.NETWORK,
            is_done=lambda: not missing_packages(),
        )

    def images(self) -> list[Task]:
        """Every image that has a Dockerfile by now."""
        debian = self._image(DEBIAN, ("packages",))
        return [debian, *(self._image(image.name, self._image_needs(image.name)) for image in self.catalog.images)]

    def build(self) -> list[Task]:
        """All programs and images. What takes longest comes first: Kubernetes on the CPU, the torch stack on the network."""
        table = [self.packages(), *self.tools(), *self.images()]
        first = {name: place for place, name in enumerate(FIRST)}
        return sorted(table, key=lambda task: first.get(task.name, len(first)))

    def up(self) -> list[Task]:
        """The node boots as soon as it can; the images of the product are built and loaded beside it."""
        node = self.node
        fixed = [name for name in self.catalog.loaded_references if self.catalog.is_infra(name)]
        product = [name for name in self.catalog.loaded_references if not self.catalog.is_infra(name)]
        control = ("tool-etcd", "tool-kubernetes", "packages")
        apply = partial(addons.apply, node, self.catalog.references)
        return [
            *self.build(),
            Task(
                "containerd",
                "starting containerd",
                node.start_containerd,
                Lane.DISK,
                ("packages",),
                node.containerd_runs,
            ),
            self._load("infra", fixed),
            Task(
                "control-plane",
                "starting etcd and the control plane",
                node.start_control_plane,
                needs=control,
                is_done=node.control_plane_runs,
            ),
            Task(
                "node",
                "starting kubelet and kube-proxy",
                node.start_node,
                needs=("control-plane", "load-infra"),
                is_done=node.node_runs,
            ),
            Task(
                "addons", "applying DNS, storage, gateway and Prometheus", apply, needs=("control-plane", "tool-helm")
            ),
            Task("ready", "waiting for the addons to run", partial(addons.wait_ready, node), needs=("node", "addons")),
            *self._load_product(product),
            Task(
                "prune",
                "removing images of older keys",
                self._prune,
                Lane.DISK,
                ("ready", *(f"load-{name}" for name in product)),
                is_done=partial(self._nothing_to_prune, node.is_booted()),
            ),
        ]

    def write_references(self) -> None:
        """For whoever installs the chart or applies a manifest: which image to name."""
        self.paths.cluster.mkdir(parents=True, exist_ok=True)
        (self.paths.cluster / "images.json").write_text(json.dumps(self.catalog.loaded_references, indent=2) + "\n")

    def _image(self, name: str, needs: tuple[str, ...]) -> Task:
        reference = self.catalog.references[name]
        return Task(
            f"image-{name}",
            f"building the image {name}",
            lambda: self.catalog.build(name, self.paths, self.buildah),
            Lane.NETWORK,
            needs,
            is_done=lambda: self.paths.buildah.exists() and self.buildah.has(reference),
        )

    def _image_needs(self, name: str) -> tuple[str, ...]:
        image = self.catalog.by_name[name]
        programs = {gobuild.OWNERS[program].name for program in image.programs}
        parent = (f"image-{image.parent}",) if image.parent else ()
        return ("packages", *parent, *(f"tool-{tool}" for tool in sorted(programs)))

    def _load_product(self, names: list[str]) -> list[Task]:
        """One load for each, the shared layer first: it is in containerd, and its copy gone, before the next begins."""
        first = [name for name in names if name == BIG_IMAGE]
        above = tuple(f"load-{name}" for name in first)
        rest = [name for name in names if name not in first]
        return [*(self._load(name, [name]) for name in first), *(self._load(name, [name], above) for name in rest)]

    def _load(self, title: str, names: list[str], needs: tuple[str, ...] = ()) -> Task:
        wanted = {name: self.catalog.references[name] for name in names}

        def missing() -> list[str]:
            return load.missing_images(wanted, self.ctr)

        return Task(
            f"load-{title}",
            f"loading {title} into containerd" if len(names) == 1 else f"loading {len(names)} images into containerd",
            lambda: load.load(missing(), self.paths, self.buildah, self.ctr),
            Lane.DISK,
            ("containerd", *needs, *(f"image-{name}" for name in names)),
            is_done=lambda: not missing(),
        )

    def _outdated(self) -> tuple[list[str], list[str]]:
        return self.catalog.outdated(self.buildah.images()), self.catalog.outdated(sorted(self.ctr.image_names()))

    def _nothing_to_prune(self, was_booted: bool) -> bool:
        """On a cluster that runs already, pods and jobs to come may still name the older images."""
        return was_booted or not any(self._outdated())

    def _prune(self) -> None:
        built, loaded = self._outdated()
        self.ctr.remove_images(loaded)
        self.buildah.remove(built)
