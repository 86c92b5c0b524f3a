"""Certificate authorities in pods: files that the kubelet makes of ConfigMaps and Secrets. The operator names them and reads none.

<root>/<kind>-<name>/<key> (`serin_trainer/authorities.py` reads them). They are optional: a pod that only lacks one can say so, where
one that waits for its volume could not; and the kubelet brings what appears later.
"""

from collections.abc import Iterable
from typing import Any

from serin_operator.api.v1alpha1 import Authority, AuthorityKind

ROOT = "/etc/serin-authorities"


def authority_volumes(used: Iterable[Authority]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and mounts, one for each object, with the keys that are named and no others."""
    keys: dict[tuple[AuthorityKind, str], set[str]] = {}
    for one in used:
        keys.setdefault((one.kind, one.name), set()).add(one.key)
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    for index, ((kind, name), named) in enumerate(sorted(keys.items())):
        items = [{"key": key, "path": key} for key in sorted(named)]
        source = (
            {"secret": {"secretName": name, "items": items, "optional": True}}
            if kind is AuthorityKind.SECRET
            else {"configMap": {"name": name, "items": items, "optional": True}}
        )
        volumes.append({"name": f"authority-{index}", **source})
        path = f"{ROOT}/{kind.lower()}-{name}"
        mounts.append({"name": f"authority-{index}", "mountPath": path, "readOnly": True})
    return volumes, mounts
