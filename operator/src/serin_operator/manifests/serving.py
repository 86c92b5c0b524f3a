"""What serves one revision: ConfigMap, Service and Deployment, owned by the ModelService.

Promotion and rollback never touch these: they move weights between Services. Not here: the route (`route.py`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Any

from serin_operator.api.contract import Base, FetchConfig, JobName, ServeConfig, ServedModel
from serin_operator.api.v1alpha1 import API_VERSION, Copies, Engine, ModelArtifact, ModelRevision, ModelService
from serin_operator.manifests import names, pods, weights
from serin_operator.manifests.engines import DRAIN_SECONDS, PORT, Named, server, verifier
from serin_operator.manifests.volumes import claim_volumes, path_of

DEFAULT_MAX_NEW_TOKENS = 128
MAX_QUEUE = 64
FINGERPRINT = "serin.dev/fingerprint"  # on each child: the hash of the wish, so that an unchanged one is not sent again
CONFIG_HASH = "serin.dev/config"  # on the pod: another config is another pod
GRACE_SECONDS = 60  # and until its running answers are finished


@dataclass(frozen=True, slots=True)
class Serving:
    """The wish: this revision, served as the service says. Two wishes are the same when all that they say is."""

    service: ModelService = field(compare=False)
    revision: ModelRevision = field(compare=False)
    image: str
    pull_policy: str
    replicas: int | None = None  # pods; as many as the service says when it is None
    fetcher: str = ""  # the image that fetches weights, where pods do
    says: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        owner, revision = self.service, self.revision
        said = (
            owner.metadata.namespace,
            owner.metadata.name,
            owner.metadata.uid,
            owner.spec.model_dump_json(),
            revision.metadata.name,
            revision.spec.model_dump_json(),
        )
        object.__setattr__(self, "says", said)

    @property
    def name(self) -> str:
        return names.serving(self.revision.metadata.name)


@lru_cache(maxsize=1024)  # asked for on every look, and nearly always the same
def serving_objects(wish: Serving) -> tuple[Mapping[str, Any], ...]:
    """Everything that serves one revision, in the order of creation, each with its fingerprint. Not to be changed."""
    return tuple(_fingerprinted(part) for part in (config_map(wish), service(wish), deployment(wish)))


def config_map(wish: Serving) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(wish), "data": _configs(wish)}


def service(wish: Serving) -> dict[str, Any]:
    """What the route's weight refers to: one Service for each revision."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _meta(wish),
        "spec": {
            "selector": _selector(wish),
            "ports": [{"name": "http", "port": PORT, "targetPort": PORT, "protocol": "TCP", "appProtocol": "http"}],
        },
    }


def deployment(wish: Serving) -> dict[str, Any]:
    spec = wish.service.spec
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _meta(wish),
        "spec": {
            "replicas": spec.runtime.replicas if wish.replicas is None else wish.replicas,
            "selector": {"matchLabels": _selector(wish)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "progressDeadlineSeconds": spec.canary.progress_deadline_seconds,
            "revisionHistoryLimit": 0,  # history is the ModelRevisions
            "template": {"metadata": _pod_meta(wish), "spec": _pod_spec(wish)},
        },
    }


def _configs(wish: Serving) -> dict[str, str]:
    """By the names of their files."""
    found = {"config.json": _written(_config(wish))}
    copies = wish.service.spec.runtime.weights
    if copies is not None:
        artifact = wish.revision.spec.artifact
        found[weights.CONFIG] = _written(weights.fetch_config(copies, artifact, _key(artifact), _job(wish)))
    return found


def _written(config: ServeConfig | FetchConfig) -> str:
    return json.dumps(config.dump(), indent=1, sort_keys=True)


def _key(artifact: ModelArtifact) -> str:
    return artifact.digest.removeprefix("sha256:")[:16]


def _job(wish: Serving) -> JobName:
    meta = wish.service.metadata
    return JobName(namespace=meta.namespace, name=meta.name)


def _config(wish: Serving) -> ServeConfig:
    meta, artifact = wish.service.metadata, wish.revision.spec.artifact
    return ServeConfig(
        stage="Serve",
        key=_key(artifact),
        job=_job(wish),
        output="",
        model=_served(wish.service.spec.runtime.weights, artifact, meta.name),
        revision=wish.revision.metadata.name,
        port=PORT,
        max_new_tokens=wish.service.spec.runtime.max_new_tokens or DEFAULT_MAX_NEW_TOKENS,
        max_queue=MAX_QUEUE,
        feedback_key=_feedback_key(meta.uid) if wish.service.spec.runtime.engine is Engine.CPU else None,
    )


def _served(copies: Copies | None, artifact: ModelArtifact, name: str) -> ServedModel:
    """The model on its claim, or as it was fetched."""
    if copies is None:
        base = Base(uri=artifact.base.uri, digest=artifact.base.digest) if artifact.base is not None else None
        return ServedModel(uri=artifact.uri, digest=artifact.digest, base=base, name=name)

    def fetched(digest: str, folder: str) -> dict[str, str]:
        return {"uri": weights.copy_address(copies, digest), "digest": digest, "path": weights.path_of(folder)}

    base = Base(**fetched(artifact.base.digest, weights.BASE)) if artifact.base is not None else None
    return ServedModel(**fetched(artifact.digest, weights.MODEL), base=base, name=name)


def _feedback_key(uid: str) -> str:
    """By which all pods of a service, of whichever revision, know each other's answers (`serin_server/receipts.py`)."""
    return sha256(f"serin-feedback/{uid}".encode()).hexdigest()


def _selector(wish: Serving) -> dict[str, str]:
    return {names.REVISION: wish.revision.metadata.name, names.STAGE: "serve"}


def _labels(wish: Serving) -> dict[str, str]:
    return {names.MANAGED_BY: names.MANAGER, names.SERVICE: wish.service.metadata.name, **_selector(wish)}


def _meta(wish: Serving) -> dict[str, Any]:
    owner = wish.service.metadata
    return {
        "name": wish.name,
        "namespace": owner.namespace,
        "labels": _labels(wish),
        "ownerReferences": [pods.owner_reference(API_VERSION, "ModelService", owner.name, owner.uid)],
    }


def _pod_meta(wish: Serving) -> dict[str, Any]:
    return {
        "labels": _labels(wish),
        "annotations": {
            CONFIG_HASH: _hash("".join(_configs(wish).values())),
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(PORT),
            "prometheus.io/path": "/metrics",
        },
    }


def _pod_spec(wish: Serving) -> dict[str, Any]:
    runtime = wish.service.spec.runtime
    scratch, scratch_mounts = pods.scratch_volumes()
    config, config_mount = pods.config_volume(wish.name)
    mounts = [config_mount, *scratch_mounts]
    brought = _from_claims(wish, mounts) if runtime.weights is None else _fetched(wish, runtime.weights, mounts)
    ours = Named(wish.image, wish.pull_policy)
    spec = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pods.POD_SECURITY,
        "terminationGracePeriodSeconds": DRAIN_SECONDS + GRACE_SECONDS,
        "containers": [server(runtime, brought.path, wish.service.metadata.name, ours, [*mounts, *brought.mounts])],
        "volumes": [config, *scratch, *brought.volumes],
    }
    return {"initContainers": list(brought.first), **spec} if brought.first else spec


@dataclass(frozen=True, slots=True)
class _Brought:
    """How the files come into the pod: where the server finds them, on which volumes, and what runs before it."""

    path: str
    volumes: list[dict[str, Any]]
    mounts: list[dict[str, Any]]
    first: tuple[dict[str, Any], ...] = ()


def _from_claims(wish: Serving, mounts: list[dict[str, Any]]) -> _Brought:
    """Serin's own server proves the files itself, before it listens; before the others stands who does."""
    artifact = wish.revision.spec.artifact
    read = [artifact.uri, *([artifact.base.uri] if artifact.base is not None else [])]
    claims, claim_mounts = claim_volumes(read, [])
    proves = wish.service.spec.runtime.engine is Engine.CPU
    first = () if proves else (verifier(Named(wish.image, wish.pull_policy), [*mounts, *claim_mounts]),)
    return _Brought(path_of(artifact.uri), claims, claim_mounts, first)


def _fetched(wish: Serving, copies: Copies, mounts: list[dict[str, Any]]) -> _Brought:
    artifact = wish.revision.spec.artifact
    believed, believed_mounts = weights.authorities_of(copies)
    fetching = [*mounts, weights.weights_mount(read_only=False), *believed_mounts]
    first = weights.fetcher(copies, artifact, Named(wish.fetcher, wish.pull_policy), fetching)
    volumes = [weights.weights_volume(artifact), *believed]
    return _Brought(weights.path_of(weights.MODEL), volumes, [weights.weights_mount(read_only=True)], (first,))


def _fingerprinted(manifest: dict[str, Any]) -> dict[str, Any]:
    mark = _hash(json.dumps(manifest, sort_keys=True))
    return {**manifest, "metadata": {**manifest["metadata"], "annotations": {FINGERPRINT: mark}}}


def fingerprint(manifest: Mapping[str, Any]) -> str:
    return str(manifest["metadata"]["annotations"][FINGERPRINT])


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]
