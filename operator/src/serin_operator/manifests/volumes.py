"""Claims behind `pvc://<claim>/<path>` addresses, and how pods mount them: /mnt/pvc/<claim>, as the contract says."""

from collections.abc import Iterable
from typing import Any

MOUNT_ROOT = "/mnt/pvc"
_SCHEME = "pvc://"


def claim_of(uri: str) -> str | None:
    """The claim that an address lives on; None for addresses that are no volumes."""
    if not uri.startswith(_SCHEME):
        return None
    return uri.removeprefix(_SCHEME).split("/", 1)[0]


def path_of(uri: str) -> str:
    """Where pods find what lies at a `pvc://` address."""
    return f"{MOUNT_ROOT}/{uri.removeprefix(_SCHEME).rstrip('/')}"


def joined(uri: str, *parts: str) -> str:
    """An address below another."""
    return "/".join([uri.rstrip("/"), *parts])


def claim_volumes(read: Iterable[str], written: Iterable[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and mounts for the claims behind these addresses; only the `written` ones are writable."""
    writable = {claim for uri in written if (claim := claim_of(uri)) is not None}
    readable = {claim for uri in read if (claim := claim_of(uri)) is not None}
    claims = sorted(writable | readable)
    volumes = [
        {"name": f"claim-{index}", "persistentVolumeClaim": {"claimName": claim, "readOnly": claim not in writable}}
        for index, claim in enumerate(claims)
    ]
    mounts = [
        {"name": f"claim-{index}", "mountPath": f"{MOUNT_ROOT}/{claim}", "readOnly": claim not in writable}
        for index, claim in enumerate(claims)
    ]
    return volumes, mounts
