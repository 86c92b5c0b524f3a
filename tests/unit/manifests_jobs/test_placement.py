"""Where training may run and how its processes talk: the spec's fields in the training pods, and nowhere else."""

from typing import Any

import pytest
from serin_operator.api.v1alpha1 import CommunicationVariable, FineTuneJob, StageName
from serin_operator.decide.decision import Create
from serin_operator.decide.job import decide_job
from serin_operator.decide.keys import train_key
from support.jobs import COPIED, World, job_manifest

FULL: dict[str, Any] = {
    "nodes": 2,
    "scheduling": {
        "nodeSelector": {"zone": "a"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "priorityClassName": "low",
        "runtimeClassName": "nvidia",
        "imagePullSecrets": [{"name": "registry"}],
    },
    "sharedMemory": "8Gi",
    "env": [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": "GLOO_SOCKET_IFNAME", "value": "eth0"}],
    "resources": {"limits": {"amd.com/gpu": 4}},
}


def pods(**distribution: Any) -> dict[str, dict[str, Any]]:
    world = World(spec={**COPIED, "distribution": distribution})
    found: dict[str, dict[str, Any]] = {}
    for _ in range(15):
        decision = decide_job(world.snapshot())
        for action in decision.actions:
            if isinstance(action, Create) and action.manifest["kind"] == "Job":
                labels = action.manifest["metadata"]["labels"]
                found[labels["serin.dev/stage"]] = action.manifest["spec"]["template"]["spec"]
        world.act(decision)
        for run in world.running():
            world.finish(run)
    return found


PODS = pods(**FULL)
PLACED = ("nodeSelector", "tolerations", "priorityClassName", "runtimeClassName")


@pytest.mark.parametrize("field", PLACED)
def test_the_training_pods_go_where_the_spec_says(field: str) -> None:
    assert PODS["train"][field] == FULL["scheduling"][field]
    assert all(field not in PODS[stage] for stage in PODS if stage != "train")


@pytest.mark.parametrize("stage", [stage.lower() for stage in StageName])
def test_every_image_is_pulled_with_the_named_secrets(stage: str) -> None:
    assert PODS[stage]["imagePullSecrets"] == [{"name": "registry"}]


def test_shared_memory_has_the_size_that_is_asked_for() -> None:
    [shm] = [volume for volume in PODS["train"]["volumes"] if volume["name"] == "shm"]
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}
    [shm] = [volume for volume in PODS["prepare"]["volumes"] if volume["name"] == "shm"]
    assert shm["emptyDir"] == {"medium": "Memory"}


def test_an_accelerator_of_any_name_is_asked_for() -> None:
    assert PODS["train"]["containers"][0]["resources"] == {"limits": {"amd.com/gpu": 4}}


def test_settings_of_the_communication_reach_the_training_pods_only() -> None:
    assert all(one in PODS["train"]["containers"][0]["env"] for one in FULL["env"])
    assert not any(one in PODS["evaluate"]["containers"][0]["env"] for one in FULL["env"])


def test_no_setting_that_may_be_given_loads_code_or_touches_a_file() -> None:
    dangerous = ("PLUGIN", "FILE", "PATH", "PRELOAD", "DIR", "PYTHON")
    assert not [one for one in CommunicationVariable if any(word in one.value for word in dangerous)]


def test_no_setting_can_take_the_place_of_one_of_serins_own() -> None:
    own = {one["name"] for one in pods(nodes=1)["train"]["containers"][0]["env"]}
    assert not own & {one.value for one in CommunicationVariable}


def test_without_any_of_it_the_pods_are_as_before() -> None:
    plain = pods(nodes=2)
    assert not set(plain["train"]) & {*PLACED, "imagePullSecrets"}


def test_a_placed_pod_still_passes_pod_security_restricted() -> None:
    pod = PODS["train"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


@pytest.mark.parametrize(
    ("change", "trains_again"),
    [pytest.param({name: FULL[name]}, False, id=name) for name in ("scheduling", "sharedMemory", "env", "resources")]
    + [
        pytest.param({"queueName": "team-a"}, False, id="queueName"),
        pytest.param({"maxRestarts": 9}, False, id="maxRestarts"),
        pytest.param({"nodes": 3}, True, id="nodes"),
    ],
)
def test_where_it_runs_is_no_part_of_the_key(change: dict[str, Any], trains_again: bool) -> None:
    def key(distribution: dict[str, Any]) -> str:
        manifest = job_manifest(distribution={"nodes": 2, **distribution})
        return train_key(FineTuneJob.model_validate(manifest).spec, "sha256:b", "sha256:d")

    assert (key(change) != key({})) is trains_again
