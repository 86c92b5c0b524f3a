"""What all of Serin's pods share: PodSecurity `restricted`, no service-account token, a read-only root file system."""

from typing import Any

USER = 65532
CONFIG_DIR = "/etc/serin"

POD_SECURITY: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "fsGroupChangePolicy": "OnRootMismatch",  # a big volume is not walked for every pod
    "seccompProfile": {"type": "RuntimeDefault"},
}

CONTAINER_SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def common_env() -> list[dict[str, str]]:
    """Caches go to /tmp, the one place that is writable; output is not held back."""
    return [
        {"name": "HOME", "value": "/tmp"},
        {"name": "HF_HOME", "value": "/tmp/hf"},
        {"name": "PYTHONUNBUFFERED", "value": "1"},
        {"name": "TOKENIZERS_PARALLELISM", "value": "false"},
    ]


def scratch_volumes(shared_memory: str | None = None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """/tmp, and a /dev/shm bigger than the runtime's 64 MiB for ranks of one node that share memory."""
    shm = {"medium": "Memory"} | ({"sizeLimit": shared_memory} if shared_memory else {})
    volumes: list[dict[str, Any]] = [
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": shm},
    ]
    mounts = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "shm", "mountPath": "/dev/shm"}]
    return volumes, mounts


def config_volume(config_map: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ConfigMap with config.json, where the images look for it."""
    return (
        {"name": "config", "configMap": {"name": config_map}},
        {"name": "config", "mountPath": CONFIG_DIR, "readOnly": True},
    )


def owner_reference(api_version: str, kind: str, name: str, uid: str) -> dict[str, Any]:
    """The child goes when the owner goes, also while the operator is away."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
