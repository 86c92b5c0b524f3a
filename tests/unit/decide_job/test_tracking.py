"""A job that names a tracking server: what its training pods are told, and nobody else; keys and data stay as they are."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import FineTuneJob, StageName
from serin_operator.decide.decision import Create, Delete
from serin_operator.decide.job import decide_job
from serin_operator.decide.job.secrets import trackers_secrets
from serin_operator.decide.keys import prepare_key, train_key
from support.jobs import BASE_DIGEST, DATA_DIGEST, World, job_manifest

OPEN: dict[str, Any] = {"mlflow": {"uri": "http://mlflow.ml:5000", "experiment": "bot"}}
CLOSED: dict[str, Any] = {
    "mlflow": {"uri": "https://mlflow.example.com", "experiment": "bot", "secretRef": {"name": "tracker"}}
}
WANDB: dict[str, Any] = {"project": "bot", "entity": "team-a", "secretRef": {"name": "wandb"}}
NO_SECRET = (
    'pod bot-train-0 does not start: CreateContainerConfigError: secret "tracker" not found; create what it names'
)


def with_password(tracking: dict[str, Any]) -> dict[str, Any]:
    return {"mlflow": {**tracking["mlflow"], "authentication": "Password"}}


def spec_of(**spec: Any) -> Any:
    return FineTuneJob.model_validate(job_manifest(**spec)).spec


def training(world: World) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plays until training is wanted; the manifests of its Job and its config."""
    for _ in range(6):
        decision = decide_job(world.snapshot())
        made = [action.manifest for action in decision.actions if isinstance(action, Create)]
        mine = {one["kind"]: one for one in made if one["metadata"]["labels"]["serin.dev/stage"] == "train"}
        world.act(decision)
        if mine:
            return mine["Job"], json.loads(mine["ConfigMap"]["data"]["config.json"])
        for run in world.running():
            world.finish(run)
    raise AssertionError("no training was wanted")


def env_of(job: dict[str, Any]) -> dict[str, Any]:
    [container] = job["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one["valueFrom"]["secretKeyRef"] for one in container["env"] if "valueFrom" in one}


def test_without_tracking_nothing_is_said_of_it() -> None:
    job, config = training(World())
    assert "tracking" not in config
    assert env_of(job) == {}


def test_a_run_is_named_by_the_jobs_uid_and_the_key_of_training_in_every_attempt() -> None:
    world = World(spec={"tracking": OPEN})
    _job, first = training(world)
    [run] = world.running()
    world.fail(run, exit_code=1)
    world.act(decide_job(world.snapshot()))
    world.now += timedelta(hours=1)
    _job, second = training(world)
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert first["tracking"] == second["tracking"] == {"run": f"uid-bot-{first['key']}", **OPEN}


@pytest.mark.parametrize(
    ("tracking", "keys", "authentication"),
    [
        (CLOSED, ["MLFLOW_TRACKING_TOKEN"], "Token"),
        (with_password(CLOSED), ["MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_USERNAME"], "Password"),
    ],
)
def test_training_pods_are_given_the_keys_that_are_used_and_none_is_optional(
    tracking: dict[str, Any], keys: list[str], authentication: str
) -> None:
    job, config = training(World(spec={"tracking": tracking}))
    assert env_of(job) == {f"SERIN_SECRET_TRACKER__{key}": {"name": "tracker", "key": key} for key in keys}
    assert config["tracking"]["mlflow"]["secret"] == "tracker"
    assert config["tracking"]["mlflow"]["authentication"] == authentication


def test_no_other_stage_is_given_the_credentials_or_told_of_the_server() -> None:
    world = World(spec={"tracking": CLOSED})
    seen: set[str] = set()
    for _ in range(12):
        decision = decide_job(world.snapshot())
        for action in decision.actions:
            if isinstance(action, Create) and action.manifest["kind"] in ("Job", "ConfigMap"):
                stage = action.manifest["metadata"]["labels"]["serin.dev/stage"]
                seen.add(stage)
                assert ("tracker" in json.dumps(action.manifest)) == (stage == "train")
        world.act(decision)
        for run in world.running():
            world.finish(run)
    assert seen == {"prepare", "train", "consolidate", "evaluate"}


def test_tracking_is_no_part_of_the_key_of_training() -> None:
    before = train_key(spec_of(), BASE_DIGEST, DATA_DIGEST)
    assert train_key(spec_of(tracking=CLOSED), BASE_DIGEST, DATA_DIGEST) == before


def test_without_a_secret_the_word_for_a_place_is_what_it_was_before_there_was_tracking() -> None:
    for spec in ({}, {"tracking": OPEN}):
        job, _config = training(World(spec=spec))
        assert job["metadata"]["annotations"]["serin.dev/placement"] == "edc70614c8ed"


def waiting(said: str) -> tuple[World, str]:
    world = World(spec={"tracking": CLOSED})
    job, _config = training(world)
    [run] = [one for one in world.running() if one.stage is StageName.TRAIN]
    placement = job["metadata"]["annotations"]["serin.dev/placement"]
    world.runs[run.name] = replace(run, waiting=said, waiting_reason="ContainerNotCreated", placement=placement)
    return world, run.name


def test_a_secret_that_is_missing_is_told_with_its_field() -> None:
    world, _name = waiting(NO_SECRET)
    world.act(decide_job(world.snapshot()))
    found = next(one for one in world.status["conditions"] if one["type"] == "Trained")
    assert (found["status"], found["reason"]) == ("Unknown", "SecretNotFound")
    assert found["message"] == (
        "spec.tracking.mlflow.secretRef names the Secret 'tracker' of namespace 'ml', which does not exist; create it with"
        " MLFLOW_TRACKING_TOKEN, and the pod starts by itself"
    )


def test_a_key_that_is_missing_is_told_with_its_field() -> None:
    world, _name = waiting("couldn't find key MLFLOW_TRACKING_TOKEN in Secret ml/tracker; create what it names")
    world.act(decide_job(world.snapshot()))
    found = next(one for one in world.status["conditions"] if one["type"] == "Trained")
    assert found["reason"] == "SecretKeyMissing"
    assert "which has no key MLFLOW_TRACKING_TOKEN" in found["message"]


def test_pods_that_wait_for_a_wrong_secret_are_replaced_when_the_spec_names_another_or_none() -> None:
    for tracking in ({"mlflow": {**CLOSED["mlflow"], "secretRef": {"name": "right"}}}, OPEN):
        world, name = waiting(NO_SECRET)
        world.spec = {"tracking": tracking}
        assert [one.name for one in decide_job(world.snapshot()).actions if isinstance(one, Delete)] == [name]


def test_pods_that_train_are_left_alone_when_another_secret_is_named() -> None:
    world, name = waiting("")
    world.runs[name] = replace(world.runs[name], waiting_reason="")
    world.spec = {"tracking": OPEN}
    assert not [one for one in decide_job(world.snapshot()).actions if isinstance(one, Delete)]


def test_without_a_secret_there_is_none_to_wait_for() -> None:
    assert trackers_secrets(spec_of()) == []
    assert trackers_secrets(spec_of(tracking=OPEN)) == []


def test_weights_and_biases_is_told_beside_mlflow_with_a_secret_of_its_own() -> None:
    job, config = training(World(spec={"tracking": {**CLOSED, "wandb": {**WANDB, "baseUrl": "https://w.example.com"}}}))
    assert env_of(job) == {
        "SERIN_SECRET_TRACKER__MLFLOW_TRACKING_TOKEN": {"name": "tracker", "key": "MLFLOW_TRACKING_TOKEN"},
        "SERIN_SECRET_WANDB__WANDB_API_KEY": {"name": "wandb", "key": "WANDB_API_KEY"},
    }
    assert config["tracking"]["wandb"] == {
        "project": "bot",
        "entity": "team-a",
        "mode": "Online",
        "baseUrl": "https://w.example.com",
        "secret": "wandb",
    }
    assert config["tracking"]["mlflow"]["secret"] == "tracker"


def test_files_for_weights_and_biases_need_no_secret() -> None:
    job, config = training(World(spec={"tracking": {"wandb": {"project": "bot", "mode": "Offline"}}}))
    assert env_of(job) == {}
    assert config["tracking"] == {"run": config["tracking"]["run"], "wandb": {"project": "bot", "mode": "Offline"}}


def test_a_missing_key_of_weights_and_biases_is_told_with_its_field() -> None:
    [(field, secret)] = trackers_secrets(spec_of(tracking={"wandb": WANDB}))
    assert (field, secret.name, secret.keys) == ("spec.tracking.wandb.secretRef", "wandb", ("WANDB_API_KEY",))


OURS = {"kind": "ConfigMap", "name": "ours", "key": "ca.crt"}


def test_training_pods_mount_the_authorities_of_their_trackers_and_need_not_wait_for_them() -> None:
    tracking = {"mlflow": {**CLOSED["mlflow"], "caRef": {"name": "ours"}}, "wandb": {**WANDB, "caRef": OURS}}
    job, config = training(World(spec={"tracking": tracking}))
    pod = job["spec"]["template"]["spec"]
    [volume] = [one for one in pod["volumes"] if one["name"].startswith("authority-")]
    assert volume["configMap"]["name"] == "ours"
    assert volume["configMap"]["optional"] is True
    assert config["tracking"]["mlflow"]["caRef"] == config["tracking"]["wandb"]["caRef"] == OURS


def test_prepare_mounts_the_authorities_of_its_stores_and_no_other_stage_does() -> None:
    store = {"endpoint": "https://minio.ml:9000", "caRef": {"kind": "Secret", "name": "ours"}}
    world = World(spec={"data": {"train": [{"name": "t", "uri": "s3://rows/t.jsonl", "s3": store}]}})
    mounting: dict[str, bool] = {}
    for _ in range(12):
        decision = decide_job(world.snapshot())
        for action in decision.actions:
            if isinstance(action, Create) and action.manifest["kind"] == "Job":
                stage = action.manifest["metadata"]["labels"]["serin.dev/stage"]
                mounting[stage] = "authority-0" in json.dumps(action.manifest)
        world.act(decision)
        for run in world.running():
            told = {"baseModelUri": "pvc://artifacts/base"} if run.stage is StageName.PREPARE else {}
            world.finish(run, **told)
    assert mounting == {"prepare": True, "train": False, "consolidate": False, "evaluate": False}


def test_whose_certificates_are_believed_prepares_nothing_again() -> None:
    def key(**more: Any) -> str:
        store = {"endpoint": "https://minio.ml:9000", **more}
        return prepare_key(spec_of(data={"train": [{"name": "t", "uri": "s3://rows/t.jsonl", "s3": store}]}))

    assert key(caRef=OURS) == key()
