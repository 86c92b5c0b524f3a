"""The batch/v1 Job of one attempt of one stage, its ConfigMap and, for training, its headless Service.

Training is one Indexed Job: pod i is node i, and `<job>-0.<service>` is where torchrun meets
(https://kubernetes.io/docs/tasks/job/job-with-pod-to-pod-communication/). One failing pod ends the attempt; the next
attempt resumes from the newest complete checkpoint.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from serin_operator.api.v1alpha1 import API_VERSION, Authority, Distribution, FineTuneJob, Resources, StageName
from serin_operator.manifests import names, pods
from serin_operator.manifests.authorities import authority_volumes
from serin_operator.manifests.quantities import whole_cores
from serin_operator.manifests.secrets import UsedSecret, secret_env, secrets_word
from serin_operator.manifests.volumes import claim_volumes

METRICS_PORT = 9400
RENDEZVOUS_PORT = 29500
PLACEMENT_DIGITS = 12
TRIES_OF_A_SHARE = 3
FOR_A_PERSON = (64, 65)  # exit codes of a pod whose configuration or data are wrong: it would fail again
SMALL: Mapping[str, Any] = {"requests": {"cpu": "100m", "memory": "512Mi"}}


@dataclass(frozen=True, slots=True)
class StageJob:
    """The wish for one attempt: what to run, with which config, on what."""

    owner: FineTuneJob
    stage: StageName
    key: str
    attempt: int
    image: str
    pull_policy: str
    config: Mapping[str, Any]
    reads: tuple[str, ...]  # addresses that the pod reads
    writes: tuple[str, ...]  # and those that it writes
    nodes: int = 1
    processes_per_node: int = 1
    resources: Resources | None = None
    distribution: Distribution | None = None  # of training: where its pods may run, and in which queue
    secrets: tuple[UsedSecret, ...] = ()  # what the pod is given to fetch, to ask or to tell with
    authorities: tuple[Authority, ...] = ()  # whose certificates it believes, of servers that name one

    @property
    def placement(self) -> str:
        """A word for where, in which queue and with which Secrets the pods may run; "" where the spec has no say in it."""
        wish = self.distribution
        if wish is None:
            return secrets_word(self.secrets)[:PLACEMENT_DIGITS]
        parts = [wish.queue_name, wish.scheduling.manifest(), wish.shared_memory, wish.resources.manifest()]
        told = [word] if (word := secrets_word(self.secrets)) else []  # without any it is the word that it always was
        text = json.dumps([*parts, [one.manifest() for one in wish.env], *told], sort_keys=True)
        return sha256(text.encode()).hexdigest()[:PLACEMENT_DIGITS]

    @property
    def size(self) -> str:
        """Nodes x processes of each, as the spec has them; "" where nothing is trained."""
        return f"{self.nodes}x{self.processes_per_node}" if self.distribution is not None else ""

    @property
    def queue(self) -> str | None:
        return self.distribution.queue_name if self.distribution is not None else None

    @property
    def name(self) -> str:
        owner = self.owner.metadata
        return names.stage_child(owner.name, owner.uid, self.stage, self.key, self.attempt)


def stage_objects(wish: StageJob) -> tuple[dict[str, Any], ...]:
    """Everything one attempt needs, in the order of creation."""
    parts = [config_map(wish)]
    if wish.stage is StageName.TRAIN:
        parts.append(headless_service(wish))
    return (*parts, job(wish))


def config_map(wish: StageJob) -> dict[str, Any]:
    text = json.dumps(wish.config, indent=1, sort_keys=True)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(wish), "data": {"config.json": text}}


def headless_service(wish: StageJob) -> dict[str, Any]:
    """Gives each training pod a name; published before ready, since ranks meet before anything is ready."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _meta(wish),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"batch.kubernetes.io/job-name": wish.name},
        },
    }


def job(wish: StageJob) -> dict[str, Any]:
    """With a queue the Job is created suspended, and from then on is Kueue's to start, to stop and to place: it is read
    and deleted, and never changed, by Serin (https://kueue.sigs.k8s.io/docs/tasks/run/jobs/)."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _job_meta(wish),
        "spec": {
            **({"suspend": True} if wish.queue is not None else {}),
            "completions": wish.nodes,
            "parallelism": wish.nodes,
            "completionMode": "Indexed",
            **_when_a_pod_fails(wish),
            "template": {"metadata": _pod_meta(wish), "spec": _pod_spec(wish)},
        },
    }


def _when_a_pod_fails(wish: StageJob) -> dict[str, Any]:
    """Ranks must restart together. Pods that share an evaluation need not: the one that was lost is run again by itself,
    unless it says that only a person can help
    (https://kubernetes.io/docs/concepts/workloads/controllers/job/#backoff-limit-per-index)."""
    if wish.stage is not StageName.EVALUATE or wish.nodes == 1:
        return {"backoffLimit": 0}
    told = {"operator": "In", "values": list(FOR_A_PERSON)}
    return {
        "backoffLimitPerIndex": TRIES_OF_A_SHARE,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": {"containerName": wish.stage.lower(), **told}},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
    }


def _meta(wish: StageJob) -> dict[str, Any]:
    owner = wish.owner.metadata
    return {
        "name": wish.name,
        "namespace": owner.namespace,
        "labels": _labels(wish),
        "ownerReferences": [pods.owner_reference(API_VERSION, "FineTuneJob", owner.name, owner.uid)],
    }


def _job_meta(wish: StageJob) -> dict[str, Any]:
    meta = _meta(wish)
    if wish.queue is not None:
        meta["labels"][names.QUEUE] = wish.queue
    said = {names.PLACEMENT: wish.placement, names.SIZE: wish.size}
    if annotations := {name: word for name, word in said.items() if word}:
        meta["annotations"] = annotations
    return meta


def _labels(wish: StageJob) -> dict[str, str]:
    return {
        names.MANAGED_BY: names.MANAGER,
        names.JOB: wish.owner.metadata.name,
        names.STAGE: wish.stage.lower(),
        names.KEY: wish.key,
        names.ATTEMPT: str(wish.attempt),
    }


def _pod_meta(wish: StageJob) -> dict[str, Any]:
    meta: dict[str, Any] = {"labels": _labels(wish)}
    if wish.stage is StageName.TRAIN:
        meta["annotations"] = {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(METRICS_PORT),
            "prometheus.io/path": "/metrics",
        }
    return meta


def _pod_spec(wish: StageJob) -> dict[str, Any]:
    claims, claim_mounts = claim_volumes(wish.reads, wish.writes)
    scratch, scratch_mounts = pods.scratch_volumes(_shared_memory(wish))
    config, config_mount = pods.config_volume(wish.name)
    authorities, authority_mounts = authority_volumes(wish.authorities)
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pods.POD_SECURITY,
        "containers": [_container(wish, [config_mount, *scratch_mounts, *claim_mounts, *authority_mounts])],
        "volumes": [config, *scratch, *claims, *authorities],
    }
    pulls = wish.owner.spec.distribution.scheduling.image_pull_secrets
    if pulls:
        spec["imagePullSecrets"] = [ref.manifest() for ref in pulls]
    if wish.stage is StageName.TRAIN:
        spec["subdomain"] = wish.name
        spec["terminationGracePeriodSeconds"] = 120  # time to save a checkpoint on SIGTERM
    return spec | _scheduling(wish)


def _scheduling(wish: StageJob) -> dict[str, Any]:
    if wish.distribution is None:
        return {}
    asked = wish.distribution.scheduling.manifest()
    fields = ("nodeSelector", "tolerations", "priorityClassName", "runtimeClassName")
    return {field: asked[field] for field in fields if asked.get(field)}


def _shared_memory(wish: StageJob) -> str | None:
    return wish.distribution.shared_memory if wish.distribution is not None else None


def _container(wish: StageJob, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": wish.stage.lower(),
        "image": wish.image,
        "imagePullPolicy": wish.pull_policy,
        "command": _command(wish),
        "env": [*pods.common_env(), *_thread_env(wish), *_communication_env(wish), *secret_env(wish.secrets)],
        "resources": wish.resources.manifest() if wish.resources is not None else dict(SMALL),
        "securityContext": pods.CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }
    if wish.stage in (StageName.TRAIN, StageName.EVALUATE):
        container["ports"] = [{"name": "metrics", "containerPort": METRICS_PORT}]
    return container


def _command(wish: StageJob) -> list[str]:
    config = ["--config", f"{pods.CONFIG_DIR}/config.json"]
    if wish.stage is StageName.EVALUATE:
        return ["python", "-m", "serin_evaluator", *config]
    if wish.stage is not StageName.TRAIN:
        return ["python", "-m", "serin_trainer", *config]
    return [
        "python",
        "-m",
        "serin_trainer.torchrun",
        f"--nnodes={wish.nodes}",
        f"--nproc_per_node={wish.processes_per_node}",
        "--node_rank=$(JOB_COMPLETION_INDEX)",
        f"--master_addr={wish.name}-0.{wish.name}",
        f"--master_port={RENDEZVOUS_PORT}",
        "-m",
        "serin_trainer",
        *config,
    ]


def _thread_env(wish: StageJob) -> list[dict[str, str]]:
    """Ranks that share a node must not fight for its cores; the other stages are alone and may use them all."""
    if wish.stage is not StageName.TRAIN:
        return []
    return [{"name": "OMP_NUM_THREADS", "value": str(max(1, _cores(wish.resources) // wish.processes_per_node))}]


def _communication_env(wish: StageJob) -> list[dict[str, str]]:
    given = wish.distribution.env if wish.distribution is not None else ()
    return [{"name": one.name.value, "value": one.value} for one in given]


def _cores(resources: Resources | None) -> int:
    """Whole cores that a pod may use; 1 when its resources do not say."""
    given = (resources.limits or resources.requests or {}) if resources is not None else {}
    return whole_cores(given.get("cpu", 1))
