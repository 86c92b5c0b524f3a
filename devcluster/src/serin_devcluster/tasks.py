"""The table of everything `up`, `images` and `tools` do, in one place: what needs what, and on which lane it waits.

The order in the table is the order of preference when several tasks could start: what others wait for comes first.
"""

from __future__ import annotations

import json
import shutil
import threading
from functools import cached_property

from serin_devcluster import addons, disk, gobuild, load
from serin_devcluster.buildah import Buildah
from serin_devcluster.containerd import Ctr
from serin_devcluster.graph import Lane, Task
from serin_devcluster.images import DEBIAN, Catalog
from serin_devcluster.node import Node
from serin_devcluster.packages import install_missing, missing_packages
from serin_devcluster.paths import Paths

BIG_IMAGE = "base"


class Tasks:
    """Builds the tables for one cache and one checkout."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.buildah = Buildah(paths)
        self.ctr = Ctr()
        self.catalog = Catalog()
        self._store = threading.Lock()

    @cached_property
    def node(self) -> Node:
        return Node(self.paths, self.catalog.references["busybox"])

    def is_cold(self) -> bool:
        """True when gigabytes are still to be made."""
        if not gobuild.KUBERNETES.is_built(self.paths) or not self.paths.buildah.exists():
            return True
        big = self.catalog.references.get(BIG_IMAGE)
        return big is not None and not self.buildah.has(big)

    def check_disk(self) -> None:
        disk.require_free(self.paths.cache, cold=self.is_cold())

    def tools(self) -> list[Task]:
        """Fetch and build: the next tool's modules are downloaded while one compiles."""
        fetch = [
            Task(f"fetch-{tool.name}", f"downloading the Go modules of {tool.name}", lambda tool=tool: gobuild.fetch(tool),
                 Lane.NETWORK, is_done=lambda tool=tool: tool.is_built(self.paths))
            for tool in gobuild.TOOLS
        ]  # fmt: skip
        build = [
            Task(f"tool-{tool.name}", f"compiling {tool.name}", lambda tool=tool: gobuild.build(tool, self.paths),
                 needs=(f"fetch-{tool.name}",), is_done=lambda tool=tool: tool.is_built(self.paths))
            for tool in gobuild.TOOLS
        ]  # fmt: skip
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
        rows = [self._image(image.name, self._image_needs(image.name)) for image in self.catalog.images]
        # The torch stack takes longest, and only needs Debian: it is downloaded while Go compiles.
        rows.sort(key=lambda task: task.name != f"image-{BIG_IMAGE}")
        return [debian, *rows]

    def up(self) -> list[Task]:
        node = self.node
        names = list(self.catalog.loaded_references)
        images = tuple(f"image-{name}" for name in names)
        control = ("tool-etcd", "tool-kubernetes", "packages")
        first, *rest = self.images()
        big_load = [self._load_big()] if BIG_IMAGE in names else []
        return [
            self.packages(),
            *self.tools(),
            first,
            *rest,
            Task("containerd", "starting containerd", node.start_containerd, Lane.NETWORK, ("packages",)),
            *big_load,
            Task("load", "loading images into containerd", self._load_rest, Lane.NETWORK,
                 ("containerd", *images, *(task.name for task in big_load)), is_done=self._nothing_to_load),
            Task("control-plane", "starting etcd and the control plane", node.start_control_plane, Lane.CPU, control),
            Task("node", "starting kubelet and kube-proxy", node.start_node, Lane.CPU, ("control-plane", "containerd", "load")),
            Task("addons", "applying DNS, storage, gateway and Prometheus", lambda: addons.apply(node, self.catalog.references),
                 Lane.CPU, ("control-plane", "tool-contour", "tool-local-path")),
            Task("ready", "waiting for the addons to run", lambda: addons.wait_ready(node), Lane.CPU, ("node", "addons")),
            Task("prune", "removing images of older keys", self._prune, Lane.NETWORK, ("ready",), is_done=self._nothing_outdated),
        ]  # fmt: skip

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

    def _load_big(self) -> Task:
        """The torch layer goes in by itself, while Go still compiles."""
        wanted = {BIG_IMAGE: self.catalog.references[BIG_IMAGE]}
        return Task(
            "load-base",
            "loading the torch base image into containerd",
            lambda: load.load(load.missing_images(wanted, self.ctr), self.paths, self.buildah, self.ctr),
            Lane.NETWORK,
            ("containerd", f"image-{BIG_IMAGE}"),
            is_done=lambda: not load.missing_images(wanted, self.ctr),
        )

    def _load_rest(self) -> None:
        load.load(load.missing_images(self.catalog.loaded_references, self.ctr), self.paths, self.buildah, self.ctr)

    def _nothing_to_load(self) -> bool:
        return not load.missing_images(self.catalog.loaded_references, self.ctr)

    def _outdated(self) -> tuple[list[str], list[str]]:
        return self.catalog.outdated(self.buildah.images()), self.catalog.outdated(sorted(self.ctr.image_names()))

    def _nothing_outdated(self) -> bool:
        return not any(self._outdated())

    def _prune(self) -> None:
        built, loaded = self._outdated()
        self.ctr.remove_images(loaded)
        self.buildah.remove(built)
        shutil.rmtree(self.paths.scratch, ignore_errors=True)
