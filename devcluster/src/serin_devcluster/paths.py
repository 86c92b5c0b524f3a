"""Where things lie: the checkout, the cache that outlives it, and the state of the running cluster.

Nothing here touches the disk; callers make the folders they need.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
GO_MODULES = CHECKOUT / "devcluster" / "go"
IMAGE_RECIPES = CHECKOUT / "devcluster" / "images"


def default_cache() -> Path:
    """$SERIN_CACHE, else the user's cache folder."""
    if given := os.environ.get("SERIN_CACHE"):
        return Path(given).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "serin"


@dataclass(frozen=True)
class Paths:
    """Every folder that outlives a command, below one root."""

    cache: Path

    @classmethod
    def default(cls) -> Paths:
        return cls(default_cache())

    @property
    def binaries(self) -> Path:
        return self.cache / "bin"

    @property
    def scratch(self) -> Path:
        """Half-made things; whatever lies here may be deleted."""
        return self.cache / "tmp"

    @property
    def rootfs(self) -> Path:
        """The Debian tree that debootstrap made, until it is an image."""
        return self.cache / "rootfs"

    @property
    def buildah(self) -> Path:
        return self.cache / "buildah"

    @property
    def containerd(self) -> Path:
        """containerd's own root: images stay here over `down`, so a second boot imports nothing."""
        return self.cache / "containerd"

    @property
    def cluster(self) -> Path:
        """State of the running cluster; `down` removes it."""
        return self.cache / "cluster"

    @property
    def kubeconfig(self) -> Path:
        return self.cluster / "admin.kubeconfig"

    @property
    def pki(self) -> Path:
        return self.cluster / "pki"

    @property
    def logs(self) -> Path:
        return self.cluster / "log"

    @property
    def run(self) -> Path:
        """Process files and sockets. The kubelet's own tree is apart, its paths are long."""
        return self.cluster / "run"

    @property
    def kubelet(self) -> Path:
        return self.cluster / "kubelet"

    @property
    def volumes(self) -> Path:
        """Data of the default StorageClass."""
        return self.cluster / "volumes"

    @property
    def audit_log(self) -> Path:
        return self.logs / "audit.log"

    @property
    def lock(self) -> Path:
        return self.cache / "lock"
