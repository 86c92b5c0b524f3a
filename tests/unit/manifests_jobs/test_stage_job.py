"""The Jobs that Serin creates: safe, owned, and what torchrun and the contract need."""

import json
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import StageName
from serin_operator.decide.decision import Create
from serin_operator.decide.job import decide_job
from serin_operator.manifests import names
from serin_operator.manifests.volumes import claim_of, claim_volumes, joined
from support.jobs import COPIED, World


def created_by_stage(**spec: Any) -> dict[StageName, dict[str, dict[str, Any]]]:
    """Every manifest of a whole walk, by stage and kind."""
    world = World(spec=spec)
    found: dict[StageName, dict[str, dict[str, Any]]] = {}
    for _ in range(15):
        decision = decide_job(world.snapshot())
        for action in decision.actions:
            labels = action.manifest["metadata"]["labels"] if isinstance(action, Create) else {}
            stage = next((s for s in StageName if s.lower() == labels.get(names.STAGE)), None)
            if stage is not None and isinstance(action, Create):
                found.setdefault(stage, {})[action.manifest["kind"]] = dict(action.manifest)
        world.act(decision)
        for run in world.running():
            world.finish(run)
    return found


ALL = created_by_stage(**COPIED)


def pod_of(stage: StageName) -> dict[str, Any]:
    return ALL[stage]["Job"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("stage", StageName)
def test_every_pod_passes_pod_security_restricted(stage: StageName) -> None:
    pod = pod_of(stage)
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert not any("hostPath" in volume for volume in pod["volumes"])


@pytest.mark.parametrize("stage", StageName)
def test_every_child_is_owned_and_labelled(stage: StageName) -> None:
    for manifest in ALL[stage].values():
        meta = manifest["metadata"]
        assert meta["ownerReferences"][0]["uid"] == "uid-bot"
        assert meta["labels"][names.MANAGED_BY] == names.MANAGER
        assert meta["namespace"] == "ml"


@pytest.mark.parametrize("stage", StageName)
def test_one_failing_pod_ends_the_attempt(stage: StageName) -> None:
    spec = ALL[stage]["Job"]["spec"]
    assert spec["backoffLimit"] == 0
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize("stage", StageName)
def test_only_the_artifacts_are_writable(stage: StageName) -> None:
    pod = pod_of(stage)
    writable = {m["mountPath"] for m in pod["containers"][0]["volumeMounts"] if not m.get("readOnly")}
    assert writable == {"/tmp", "/dev/shm", "/mnt/pvc/artifacts"}


def test_training_is_two_indexed_pods_that_meet_through_a_headless_service() -> None:
    job, service = ALL[StageName.TRAIN]["Job"], ALL[StageName.TRAIN]["Service"]
    name = job["metadata"]["name"]
    command = pod_of(StageName.TRAIN)["containers"][0]["command"]
    assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (2, 2)
    assert job["spec"]["completionMode"] == "Indexed"
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert pod_of(StageName.TRAIN)["subdomain"] == service["metadata"]["name"] == name
    assert f"--master_addr={name}-0.{name}" in command
    assert "--node_rank=$(JOB_COMPLETION_INDEX)" in command


@pytest.mark.parametrize("stage", StageName)
def test_the_config_names_its_stage_key_and_output(stage: StageName) -> None:
    config = json.loads(ALL[stage]["ConfigMap"]["data"]["config.json"])
    assert config["stage"] == stage.value
    assert config["output"].startswith("pvc://artifacts/ml/bot/")
    assert config["output"].endswith(config["key"])
    assert ALL[stage]["Job"]["metadata"]["labels"][names.KEY] == config["key"]


def test_the_pods_resources_are_the_specs() -> None:
    resources = {"limits": {"cpu": 4, "memory": "2Gi", "nvidia.com/gpu": 1}}
    found = created_by_stage(distribution={"nodes": 1, "processesPerNode": 2, "resources": resources})
    [container] = found[StageName.TRAIN]["Job"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == resources
    assert {"name": "OMP_NUM_THREADS", "value": "2"} in container["env"]


def test_lora_reaches_the_pod_with_its_defaults() -> None:
    found = created_by_stage(method={"type": "LoRA"})
    config = json.loads(found[StageName.TRAIN]["ConfigMap"]["data"]["config.json"])
    assert config["method"]["lora"]["rank"] == 16


def test_addresses_and_claims() -> None:
    assert claim_of("pvc://a.b/c/d") == "a.b"
    assert claim_of("hf://org/name") is None
    assert joined("pvc://a/", "b", "c") == "pvc://a/b/c"
    volumes, mounts = claim_volumes(["pvc://a/x", "pvc://b/y", "hf://o/n"], ["pvc://b/z"])
    assert [v["persistentVolumeClaim"] for v in volumes] == [
        {"claimName": "a", "readOnly": True},
        {"claimName": "b", "readOnly": False},
    ]
    assert [m["mountPath"] for m in mounts] == ["/mnt/pvc/a", "/mnt/pvc/b"]


@pytest.mark.parametrize("length", [1, 63, 64, 200])
def test_names_stay_within_their_limit_and_differ(length: int) -> None:
    one, other = names.bounded("a" * length), names.bounded("a" * (length + 200))
    assert len(one) <= 63
    assert len(other) <= 63
    assert one != other


def test_a_job_applied_again_has_children_of_other_names() -> None:
    assert names.stage_child("bot", "uid-1", "Train", "k", 1) != names.stage_child("bot", "uid-2", "Train", "k", 1)
