"""Debian packages that the node and the image builds need, by name, installed only when missing."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from serin_devcluster.errors import DevclusterError
from serin_devcluster.shell import run

PACKAGES = {
    "containerd": "runs the containers",
    "runc": "starts each of them",
    "containernetworking-plugins": "gives pods their network",
    "buildah": "builds the images",
    "skopeo": "copies them out of buildah's store",
    "golang-github-containers-common": "buildah's defaults",
    "debootstrap": "makes the Debian base image",
    "nftables": "kube-proxy writes Services as nftables rules",
    "iproute2": "the node's own network device",
    "conntrack": "kube-proxy forgets connections to gone pods",
    "socat": "kubectl port-forward",
    "openssl": "certificates",
    "ca-certificates": "package downloads over https",
    "kmod": "loads kernel modules where they are modules",
}
FORBID_SERVICES = Path("/usr/sbin/policy-rc.d")


def missing_packages() -> list[str]:
    """Names from the table that dpkg does not know as installed."""
    if shutil.which("dpkg-query") is None:
        raise DevclusterError(
            "this machine has no dpkg: the development cluster needs Debian 12 or newer, or set KUBECONFIG"
        )
    asked = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *PACKAGES],
        capture_output=True,
        text=True,
        check=False,
    )
    installed = {line.split()[0] for line in asked.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in PACKAGES if name not in installed]


def install_missing() -> None:
    missing = missing_packages()
    if not missing:
        return
    if os.geteuid() != 0:
        raise DevclusterError(
            f"these packages are missing: {' '.join(missing)}; run as root, or install them with apt-get"
        )
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-q"], env=env)
    with no_services_started():
        run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing], env=env)


@contextlib.contextmanager
def no_services_started() -> Iterator[None]:
    """Debian starts a package's service when it is installed; we run a containerd of our own and want no second one."""
    if FORBID_SERVICES.exists():
        yield
        return
    FORBID_SERVICES.write_text("#!/bin/sh\nexit 101\n")
    FORBID_SERVICES.chmod(0o755)
    try:
        yield
    finally:
        FORBID_SERVICES.unlink(missing_ok=True)
