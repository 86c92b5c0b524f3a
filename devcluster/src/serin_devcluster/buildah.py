"""Builds images with buildah in a store of our own, and hands a build what the machine's package clients need.

A build behind a company's proxy or package mirror needs its certificates and index. The certificates and pip's settings
are mounted into the build; where they lie is told by build arguments, which are there in RUN steps and never become part
of an image. So the Dockerfiles know nothing of it, and build the same way for anybody.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from serin_devcluster.paths import Paths
from serin_devcluster.shell import run, succeeds

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
INSIDE = "/run/serin-build"
MOUNTED_FILES = {
    "SSL_CERT_FILE": f"{INSIDE}/ca.crt",
    "REQUESTS_CA_BUNDLE": f"{INSIDE}/ca.crt",
    "CURL_CA_BUNDLE": f"{INSIDE}/ca.crt",
    "PIP_CONFIG_FILE": f"{INSIDE}/pip.conf",
    "APT_CONFIG": f"{INSIDE}/apt.conf",
    "DEBIAN_FRONTEND": "noninteractive",
}
# Their values are places on this machine, which mean nothing inside.
PLACES = {"PIP_FIND_LINKS", "PIP_CERT", "PIP_CONFIG_FILE", "PIP_CACHE_DIR", "PIP_TARGET", "PIP_REQUIRE_VIRTUALENV"}
INDEX_OF_UV = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_HTTP_TIMEOUT")
BUILD_CONTAINER = re.compile(r"-working-container(-\d+)?$")
OWNED_CONTAINER = re.compile(r"[a-z-]+\.(\d+)")
FROM_LINE = re.compile(r"^FROM\s", re.IGNORECASE)


def pip_settings(environ: Mapping[str, str]) -> str:
    """The machine's PIP_* variables as pip's configuration file."""
    given = {name[4:].lower().replace("_", "-"): value for name, value in sorted(environ.items())
             if name.startswith("PIP_") and name not in PLACES}  # fmt: skip
    lines = [f"{name} = {value}" for name, value in {**given, "cert": f"{INSIDE}/ca.crt"}.items()]
    return "\n".join(["[global]", *lines, ""])


def passed_arguments(environ: Mapping[str, str]) -> dict[str, str]:
    """Build arguments of every build. An address with a password in it stays out: arguments are kept in an image's history."""
    index = {name: environ[name] for name in INDEX_OF_UV if name in environ and "@" not in environ[name]}
    return {**MOUNTED_FILES, **index}


def with_arguments(dockerfile: str, names: Sequence[str]) -> str:
    """The Dockerfile with the arguments declared in each of its stages."""
    declared = [f"ARG {name}" for name in names]
    lines: list[str] = []
    for line in dockerfile.splitlines():
        lines.append(line)
        if FROM_LINE.match(line):
            lines += declared
    return "\n".join([*lines, ""])


def abandoned(names: Sequence[str]) -> list[str]:
    """Of the containers' names those that a build left, and those that name a process which is gone."""

    def is_left(name: str) -> bool:
        if match := OWNED_CONTAINER.fullmatch(name):
            return not Path("/proc", match.group(1)).exists()
        return BUILD_CONTAINER.search(name) is not None

    return [name for name in names if is_left(name)]


class Buildah:
    """buildah on the store in the cache."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.root = paths.buildah
        self.settings = paths.buildah / "settings"

    def command(self, *args: str) -> list[str]:
        """The whole command line, for callers that want to see its output as it comes."""
        self._write_settings()
        return [*self._base(), *args]

    def call(self, *args: str | os.PathLike[str], log: Path | None = None) -> str:
        self._write_settings()
        return run([*self._base(), *args], env=self.environment(), log=log)

    def has(self, image: str) -> bool:
        self._write_settings()
        return succeeds([*self._base(), "inspect", "--type", "image", image], env=self.environment())

    def build(self, image: str, context: Path, build_args: Mapping[str, str], log: Path) -> None:
        passed = passed_arguments(os.environ)
        dockerfile = context / "Dockerfile"
        dockerfile.write_text(with_arguments(dockerfile.read_text(), list(passed)))
        arguments = {**passed, **build_args}
        pairs = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
        mounted = ("--volume", f"{self.settings / 'build'}:{INSIDE}:ro")
        # Layers are kept, so a change of code does not install packages again.
        flags = ["--isolation", "chroot", "--pull-never", "--layers", "--format", "oci", *mounted, *pairs]
        self.call("bud", *flags, "-t", image, context, log=log)

    def commit_tree(self, tree: Path, images: Sequence[str], config: Sequence[str]) -> None:
        """Makes an image of one layer from a folder, under several names."""
        container = self.call("from", "--pull-never", "scratch").strip()
        try:
            self.call("add", "--quiet", container, tree, "/")
            self.call("config", *config, container)
            self.call("commit", "--quiet", container, images[0])
        finally:
            self.call("rm", container)
        self.call("tag", *images)

    def images(self) -> list[str]:
        """All names in the store."""
        listed = json.loads(self.call("images", "--json") or "[]") or []
        return sorted({name for image in listed for name in image.get("names") or []})

    def remove(self, names: Sequence[str]) -> None:
        """Of those that tests are just running in, the next clean-up takes care."""
        for name in names:
            succeeds(self.command("rmi", name), env=self.environment())
        if names:
            succeeds(self.command("rmi", "--prune"), env=self.environment())

    def remove_abandoned(self) -> None:
        """Containers of builds and tests that were killed; each may hold gigabytes. No build of ours may be running."""
        if self.root.exists() and shutil.which("buildah"):
            listed = json.loads(self.call("containers", "--json") or "[]") or []
            for name in abandoned([one["containername"] for one in listed]):
                self.call("rm", name)

    def copy_to_layout(self, image: str, layout: Path) -> None:
        """Writes an OCI layout, layers as they are; a blob that lies there already is not written. buildah's own push
        always compresses into a layout, which costs minutes of CPU and gives the layers other digests each time."""
        store = f"containers-storage:[overlay@{self.root / 'root'}+{self.root / 'run'}]{image}"
        flags = ["--quiet", "--dest-oci-accept-uncompressed-layers"]
        tool = ["nice", "-n", "5", "skopeo", "--insecure-policy", "--tmpdir", str(self._scratch())]
        run([*tool, "copy", *flags, store, f"oci:{layout}:{image}"], env=self.environment())

    def _base(self) -> list[str]:
        store = ["--root", str(self.root / "root"), "--runroot", str(self.root / "run"), "--storage-driver", "overlay"]
        return ["nice", "-n", "5", "buildah", *store]

    def environment(self) -> dict[str, str]:
        return {
            "CONTAINERS_CONF": str(self.settings / "containers.conf"),
            "TMPDIR": str(self._scratch()),
            "BUILDAH_ISOLATION": "chroot",
        }

    def _scratch(self) -> Path:
        """buildah's temporary files belong on the cache's disk, /tmp may be small."""
        self.paths.scratch.mkdir(parents=True, exist_ok=True)
        return self.paths.scratch

    def _write_settings(self) -> None:
        mounted = self.settings / "build"
        mounted.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CERTIFICATES, mounted / "ca.crt")
        (mounted / "apt.conf").write_text(f'Acquire::https::CaInfo "{INSIDE}/ca.crt";\nAcquire::Retries "5";\n')
        (mounted / "pip.conf").write_text(pip_settings(os.environ))
        # The machine's own configuration must not change what is built.
        (self.settings / "containers.conf").write_text("[containers]\nhttp_proxy = true\n")
