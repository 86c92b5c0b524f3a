"""Weights that pods fetch: the init container that brings a revision's files onto the node's disk, and proves each of them.

A copy is known by the model's digest: the folder `sha256-<digest>` below a bucket's address, the revision of that name at a hub.
The server's containers read it, and write it never. Not here: how it is fetched and proven (`serin_trainer/fetch.py`).
"""

from collections.abc import Sequence
from typing import Any

from serin_operator.api.contract import FetchConfig, FetchedModel, JobName
from serin_operator.api.v1alpha1 import Copies, ModelArtifact
from serin_operator.manifests import pods
from serin_operator.manifests.authorities import authority_volumes
from serin_operator.manifests.engines import Named
from serin_operator.manifests.secrets import secret_env, secret_for

Json = dict[str, Any]
NAME = "fetch"  # of the init container
CONFIG = "fetch.json"  # beside the server's in its ConfigMap
ROOT = "/mnt/weights"
MODEL, BASE = "model", "base"
_MIB = 2**20
_ROOM = 64 * _MIB  # for the manifest, and for what a file system makes of many files


def copy_name(digest: str) -> str:
    """The folder or revision of a copy."""
    return digest.replace(":", "-")


def copy_address(weights: Copies, digest: str) -> str:
    """Where the files of this digest are fetched from, as people are told."""
    if weights.uri.startswith("hf://"):
        return f"{weights.uri}@{copy_name(digest)}"
    return f"{weights.uri.rstrip('/')}/{copy_name(digest)}"


def path_of(folder: str) -> str:
    return f"{ROOT}/{folder}"


def fetch_config(weights: Copies, artifact: ModelArtifact, key: str, job: JobName) -> FetchConfig:
    models = [FetchedModel(folder=MODEL, digest=artifact.digest)]
    models += [FetchedModel(folder=BASE, digest=artifact.base.digest)] if artifact.base is not None else []
    return FetchConfig(stage="Fetch", key=key, job=job, output=ROOT, weights=weights, models=tuple(models))


def disk(artifact: ModelArtifact) -> str | None:
    """What the files take; None where that is not known, as of revisions of older releases, and of an adapter's base."""
    if artifact.size_bytes is None or artifact.base is not None:
        return None
    return f"{-(-(artifact.size_bytes + _ROOM) // _MIB)}Mi"


def weights_volume(artifact: ModelArtifact) -> Json:
    size = disk(artifact)
    return {"name": "weights", "emptyDir": {"sizeLimit": size} if size is not None else {}}


def weights_mount(read_only: bool) -> Json:
    return {"name": "weights", "mountPath": ROOT, **({"readOnly": True} if read_only else {})}


def authorities_of(weights: Copies) -> tuple[list[Json], list[Json]]:
    """Volumes and mounts of the store's own authority, for who fetches."""
    ours = weights.s3.ca_ref if weights.s3 is not None else None
    return authority_volumes([ours] if ours is not None else [])


def fetcher(weights: Copies, artifact: ModelArtifact, image: Named, mounts: Sequence[Json]) -> Json:
    """Ends well only when every file has the digest that was judged. It alone is given the credentials."""
    secrets = [secret_for(weights.secret_ref.name, weights.uri)] if weights.secret_ref is not None else []
    size = disk(artifact)
    room = {"ephemeral-storage": size} if size is not None else {}
    return {
        "name": NAME,
        "image": image.image,
        "imagePullPolicy": image.pull_policy,
        "command": ["python", "-m", "serin_trainer.fetch", "--config", f"{pods.CONFIG_DIR}/{CONFIG}"],
        "env": [*pods.common_env(), *secret_env(secrets)],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi", **room}, "limits": {"memory": "1Gi"}},
        "securityContext": pods.CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": list(mounts),
    }
