"""Builds images with buildah in a store of our own, and hands a build what the machine's package clients need.

A build behind a company's proxy or package mirror needs its certificate, proxy and index. These come in through buildah's
configuration: they are there in each RUN step of any Dockerfile, and never become part of an image.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from serin_devcluster.paths import Paths
from serin_devcluster.shell import run, succeeds

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
INSIDE = "/run/serin-build"
# Clients read these to find the certificates; all name the one file that is mounted into the build.
CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
# Their values are places on this machine, which mean nothing inside.
NOT_PASSED = {
    "PIP_FIND_LINKS",
    "PIP_CERT",
    "PIP_CONFIG_FILE",
    "UV_CACHE_DIR",
    "UV_PROJECT_ENVIRONMENT",
    "UV_PYTHON",
    "UV_CONFIG_FILE",
}
PASSED_PREFIXES = ("PIP_", "UV_")


def build_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables of every RUN step, from this machine's environment. Proxies are passed by buildah itself."""
    passed = {
        name: value
        for name, value in environ.items()
        if name.startswith(PASSED_PREFIXES) and name not in NOT_PASSED and not value.startswith("/")
    }
    certificates = dict.fromkeys(CERTIFICATE_VARIABLES, f"{INSIDE}/ca.crt")
    return {
        **passed,
        **certificates,
        "APT_CONFIG": f"{INSIDE}/apt.conf",
        "DEBIAN_FRONTEND": "noninteractive",
    }


def containers_conf(environment: Mapping[str, str], mounted: Path) -> str:
    """buildah's configuration. JSON strings and lists are also TOML."""
    env = json.dumps([f"{name}={value}" for name, value in sorted(environment.items())])
    volumes = json.dumps([f"{mounted}:{INSIDE}:ro"])
    return f"[containers]\nenv = {env}\nvolumes = {volumes}\nhttp_proxy = true\n"


class Buildah:
    """buildah on the store in the cache."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.root = paths.buildah
        self.settings = paths.buildah / "settings"

    def call(self, *args: str | os.PathLike[str], log: Path | None = None) -> str:
        self._write_settings()
        return run([*self._base(), *args], env=self._env(), log=log)

    def has(self, image: str) -> bool:
        self._write_settings()
        return succeeds([*self._base(), "inspect", "--type", "image", image], env=self._env())

    def build(self, image: str, context: Path, build_args: Mapping[str, str], log: Path) -> None:
        pairs = [part for name, value in sorted(build_args.items()) for part in ("--build-arg", f"{name}={value}")]
        # Layers are kept, so a change of code does not install packages again.
        flags = ["--isolation", "chroot", "--pull-never", "--layers", "--format", "oci", *pairs]
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
        for name in names:
            self.call("rmi", name)
        if names:
            self.call("rmi", "--prune")

    def push_to_layout(self, image: str, layout: Path) -> None:
        """Adds the image to an OCI layout, layers uncompressed; a layer that lies there already is not written again."""
        self.call("push", "--quiet", "--disable-compression", image, f"oci:{layout}:{image}")

    def _base(self) -> list[str]:
        store = ["--root", str(self.root / "root"), "--runroot", str(self.root / "run"), "--storage-driver", "overlay"]
        return ["nice", "-n", "5", "buildah", *store]

    def _env(self) -> dict[str, str]:
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
        (self.settings / "containers.conf").write_text(containers_conf(build_environment(os.environ), mounted))
