"""The table of images, their content keys, and how one is built. Loading them into the node is load.py's business.

An image's tag is the hash of what it is built from, its parent's tag among that. A build sees only the files that the
table names, so a file that is not part of the key cannot be part of the image.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from serin_devcluster.buildah import Buildah
from serin_devcluster.debian import build_debian, debian_key
from serin_devcluster.gobuild import OWNERS, find_program
from serin_devcluster.keys import file_parts, key_of
from serin_devcluster.paths import CHECKOUT, Paths
from serin_devcluster.scratch import unfinished

REPOSITORY = "localhost/serin"
PYTHON_PACKAGE = ("Dockerfile", "pyproject.toml", "uv.lock", "src/**/*")


@dataclass(frozen=True)
class Image:
    """One row: the context is a folder of the checkout, `inputs` the files of it that a build may see."""

    name: str
    context: str
    inputs: tuple[str, ...] = ("**/*",)
    parent: str | None = None
    programs: tuple[str, ...] = ()
    dockerfile: str = "Dockerfile"

    @property
    def folder(self) -> Path:
        return CHECKOUT / self.context

    @property
    def exists(self) -> bool:
        return (self.folder / self.dockerfile).exists()


def infra(name: str, parent: str | None = None, programs: tuple[str, ...] = ()) -> Image:
    return Image(name, f"devcluster/images/{name}", parent=parent, programs=programs)


DEBIAN = "debian"
IMAGES = (
    infra("busybox", parent=DEBIAN),
    infra("coredns", programs=("coredns",)),
    infra("contour", programs=("contour",)),
    infra("local-path", programs=("local-path-provisioner",)),
    infra("envoy", parent=DEBIAN),
    infra("prometheus", programs=("prometheus",)),
    Image("base", "images/base", ("Dockerfile", "pyproject.toml", "uv.lock"), parent=DEBIAN),
    Image("trainer", "trainer-image", PYTHON_PACKAGE, parent="base"),
    Image("evaluator", "evaluator-image", PYTHON_PACKAGE, parent="base"),
    Image("server", "server-image", PYTHON_PACKAGE, parent="base"),
    Image(
        "operator",
        ".",
        ("operator/Dockerfile", "pyproject.toml", "uv.lock", "README.md", "operator/src/**/*"),
        parent=DEBIAN,
        dockerfile="operator/Dockerfile",
    ),
)


class Catalog:
    """The images of one checkout, with their keys computed once."""

    def __init__(self, images: tuple[Image, ...] = IMAGES) -> None:
        self.images = tuple(image for image in images if image.exists)
        self.by_name = {image.name: image for image in self.images}

    @cached_property
    def references(self) -> dict[str, str]:
        """Full name of each image, the tag being its key."""
        found = {DEBIAN: f"{REPOSITORY}/{DEBIAN}:{debian_key()}"}
        for image in self.images:  # parents come first in the table
            parent = found[image.parent] if image.parent else ""
            found[image.name] = f"{REPOSITORY}/{image.name}:{self.key(image, parent)}"
        return found

    @property
    def loaded_references(self) -> dict[str, str]:
        """What the node must hold: all but the tree that others are built on."""
        return {name: reference for name, reference in self.references.items() if name != DEBIAN}

    def key(self, image: Image, parent: str) -> str:
        programs = [OWNERS[name].key() for name in image.programs]
        return key_of(image.name, image.dockerfile, parent, *programs, *file_parts(image.folder, image.inputs))

    def build(self, name: str, paths: Paths, buildah: Buildah) -> None:
        reference = self.references[name]
        if name == DEBIAN:
            build_debian(reference, paths, buildah)
            return
        image = self.by_name[name]
        context = stage(image, paths)
        build_args = {"BASE_IMAGE": self.references[image.parent]} if image.parent else {}
        buildah.build(reference, context, build_args, paths.cache / "log" / f"image-{name}.log")
        shutil.rmtree(context)

    def is_infra(self, name: str) -> bool:
        """True for what the node itself runs."""
        return name in self.by_name and self.by_name[name].context.startswith("devcluster/")

    def outdated(self, names: list[str]) -> list[str]:
        """Our images of other keys: of the checkout before, which nothing runs any more."""
        current = set(self.references.values())
        known = {reference.rpartition(":")[0] for reference in current}
        return [name for name in names if name.rpartition(":")[0] in known and name not in current]


def stage(image: Image, paths: Paths) -> Path:
    """A folder with just the inputs and programs."""
    context = unfinished(paths, f"context-{image.name}")
    for source in sorted({path for pattern in image.inputs for path in image.folder.glob(pattern) if path.is_file()}):
        if "__pycache__" not in source.parts:
            place(source, context / source.relative_to(image.folder))
    for name in image.programs:
        place(find_program(paths, name), context / "bin" / name)
    dockerfile = context / image.dockerfile
    if image.dockerfile != "Dockerfile":
        place(dockerfile, context / "Dockerfile")
    return context


def place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def describe(references: Mapping[str, str]) -> str:
    return "\n".join(f"{name:<12} {reference}" for name, reference in references.items())
