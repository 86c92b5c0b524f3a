"""Secrets are named, given to the one pod that fetches, and read by nobody else; a missing one is told in the spec's words."""

import json
from dataclasses import replace
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import FineTuneJob, StageName
from serin_operator.decide.decision import Create, Delete
from serin_operator.decide.job import decide_job
from serin_operator.decide.job.secrets import named_secrets, used_secrets
from serin_operator.decide.keys import prepare_key, train_key
from serin_operator.decide.missing_secrets import missing_secret
from serin_operator.manifests.secrets import UsedSecret, secret_env, secret_for, variable
from support.jobs import BASE_DIGEST, DATA_DIGEST, World, job_manifest

BUCKET = {"name": "tickets", "uri": "s3://team/tickets.jsonl", "secretRef": {"name": "store"}}
HUB = {"uri": "hf://team/model", "secretRef": {"name": "hub"}}
SPEC: dict[str, Any] = {"baseModel": HUB, "data": {"train": [BUCKET]}}
COPY = "pvc://artifacts/ml/bot/prepare-0/base"
NO_SECRET = (
    'pod bot-prepare-0 does not start: CreateContainerConfigError: secret "store" not found; create what it names'
)
NO_KEY = (
    "pod bot-prepare-0 does not start: CreateContainerConfigError: couldn't find key HF_TOKEN in Secret ml/hub; create"
)


def spec_of(**spec: Any) -> Any:
    return FineTuneJob.model_validate(job_manifest(**spec)).spec


def played(**output: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pod specs and the configs of all stages, where Prepare says this."""
    world = World(spec=SPEC, claims=frozenset({"artifacts", "datasets"}))
    pods: dict[str, Any] = {}
    configs: dict[str, Any] = {}
    for _ in range(12):
        decision = decide_job(world.snapshot())
        for action in decision.actions:
            if isinstance(action, Create) and action.manifest["kind"] in ("Job", "ConfigMap"):
                stage = action.manifest["metadata"]["labels"]["serin.dev/stage"]
                if action.manifest["kind"] == "Job":
                    pods[stage] = action.manifest["spec"]["template"]["spec"]
                else:
                    configs[stage] = json.loads(action.manifest["data"]["config.json"])
        world.act(decision)
        for run in world.running():
            world.finish(run, **(output if run.stage is StageName.PREPARE else {}))
    return pods, configs


PODS, CONFIGS = played(baseModelUri=COPY, sourcesDigest=f"sha256:{'5' * 64}")


def env_of(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in pod["containers"][0]["env"] if "valueFrom" in one]


def test_the_pod_that_fetches_gets_each_key_from_its_secret() -> None:
    given = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in env_of(PODS["prepare"])}
    assert given == {
        "SERIN_SECRET_HUB__HF_TOKEN": {"name": "hub", "key": "HF_TOKEN"},
        "SERIN_SECRET_STORE__AWS_ACCESS_KEY_ID": {"name": "store", "key": "AWS_ACCESS_KEY_ID"},
        "SERIN_SECRET_STORE__AWS_SECRET_ACCESS_KEY": {"name": "store", "key": "AWS_SECRET_ACCESS_KEY"},
        "SERIN_SECRET_STORE__AWS_SESSION_TOKEN": {"name": "store", "key": "AWS_SESSION_TOKEN", "optional": True},
    }


@pytest.mark.parametrize("stage", ["train", "consolidate", "evaluate"])
def test_no_other_pod_is_given_a_secret(stage: str) -> None:
    assert env_of(PODS[stage]) == []
    assert "secretRef" not in json.dumps(CONFIGS[stage])


def test_later_stages_read_the_copy_of_a_base_model_and_name_where_it_came_from() -> None:
    base = {"uri": COPY, "digest": BASE_DIGEST, "source": HUB["uri"]}
    assert CONFIGS["train"]["baseModel"] == CONFIGS["consolidate"]["baseModel"] == base
    [role] = [model for model in CONFIGS["evaluate"]["models"] if model["role"] == "Base"]
    assert role["uri"] == COPY


def test_the_lineage_names_the_digest_of_what_was_read() -> None:
    assert CONFIGS["consolidate"]["lineage"]["sourcesDigest"] == f"sha256:{'5' * 64}"


def test_a_base_model_that_is_not_copied_is_read_where_it_is() -> None:
    _pods, configs = played()
    assert configs["train"]["baseModel"] == {"uri": HUB["uri"], "digest": BASE_DIGEST}


def test_another_secret_is_no_other_data_and_another_endpoint_is() -> None:
    before = prepare_key(spec_of(**SPEC))
    other = {**SPEC, "data": {"train": [{**BUCKET, "secretRef": {"name": "other"}}]}}
    elsewhere = {**SPEC, "data": {"train": [{**BUCKET, "s3": {"endpoint": "https://elsewhere"}}]}}
    assert prepare_key(spec_of(**other)) == before
    assert prepare_key(spec_of(**elsewhere)) != before
    assert train_key(spec_of(**other), BASE_DIGEST, DATA_DIGEST) == train_key(spec_of(**SPEC), BASE_DIGEST, DATA_DIGEST)


def test_without_buckets_and_secrets_keys_are_what_they_were() -> None:
    assert prepare_key(spec_of()) == "da534d03d069f5c3"


def waiting(said: str, reason: str = "ContainerNotCreated") -> World:
    world = World(spec=SPEC, claims=frozenset({"artifacts", "datasets"}))
    world.act(decide_job(world.snapshot()))
    [run] = world.running()
    world.runs[run.name] = replace(run, waiting=said, waiting_reason=reason)
    return world


def condition(world: World, type_: str) -> dict[str, Any]:
    world.act(decide_job(world.snapshot()))
    return next(one for one in world.status["conditions"] if one["type"] == type_)


def test_a_missing_secret_is_a_condition_that_names_it_and_its_field() -> None:
    found = condition(waiting(NO_SECRET), "DataPrepared")
    assert (found["status"], found["reason"]) == ("Unknown", "SecretNotFound")
    assert found["message"] == (
        "spec.data.train[tickets].secretRef names the Secret 'store' of namespace 'ml', which does not exist; create it"
        " with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and the pod starts by itself"
    )


def test_a_missing_key_is_a_condition_that_names_it_and_its_field() -> None:
    found = condition(waiting(NO_KEY), "DataPrepared")
    assert found["reason"] == "SecretKeyMissing"
    assert found["message"] == (
        "spec.baseModel.secretRef names the Secret 'hub' of namespace 'ml', which has no key HF_TOKEN; add it, and the"
        " pod starts by itself"
    )


def test_a_person_who_runs_kubectl_get_reads_it_too() -> None:
    world = waiting(NO_SECRET)
    world.act(decide_job(world.snapshot()))
    assert "spec.data.train[tickets].secretRef" in world.status["message"]


@pytest.mark.parametrize(
    "said",
    ['configmap "bot" not found', 'secret "registry" not found', "couldn't find key a in Secret ml/registry", ""],
)
def test_what_is_not_a_secret_of_the_spec_is_told_as_the_kubelet_says_it(said: str) -> None:
    assert missing_secret(named_secrets(spec_of(**SPEC)), "ml", said) is None


def test_a_pod_that_waits_for_a_wrong_secret_is_replaced_when_the_spec_names_another() -> None:
    world = waiting(NO_SECRET)
    [run] = world.running()
    world.runs[run.name] = replace(world.runs[run.name], placement=_placement(SPEC))
    world.spec = {**SPEC, "data": {"train": [{**BUCKET, "secretRef": {"name": "right"}}]}}
    decision = decide_job(world.snapshot())
    assert [action.name for action in decision.actions if isinstance(action, Delete)] == [run.name]


def _placement(spec: dict[str, Any]) -> str:
    """What the Job says that was created for this spec."""
    world = World(spec=spec, claims=frozenset({"artifacts", "datasets"}))
    made = [action.manifest for action in decide_job(world.snapshot()).actions if isinstance(action, Create)]
    if not made:
        world.act(decide_job(world.snapshot()))
        made = [action.manifest for action in decide_job(world.snapshot()).actions if isinstance(action, Create)]
    [job] = [manifest for manifest in made if manifest["kind"] == "Job"]
    return str(job["metadata"]["annotations"]["serin.dev/placement"])


def test_every_field_that_names_a_secret_is_known() -> None:
    data = {
        "train": [BUCKET],
        "validation": [{**BUCKET, "name": "held"}],
        "test": [{**BUCKET, "name": "last", "secretRef": {"name": "other"}}],
        "split": {"strategy": "Provided"},
    }
    spec = spec_of(baseModel=HUB, data=data)
    assert [field for field, _secret in named_secrets(spec)] == [
        "spec.baseModel.secretRef",
        "spec.data.train[tickets].secretRef",
        "spec.data.validation[held].secretRef",
        "spec.data.test[last].secretRef",
    ]
    assert [secret.name for secret in used_secrets(spec)] == ["hub", "other", "store"]


def test_one_missing_secret_that_several_fields_name_is_told_once() -> None:
    spec = spec_of(data={"train": [BUCKET, {**BUCKET, "name": "more"}]})
    found = missing_secret(named_secrets(spec), "ml", NO_SECRET)
    assert found is not None
    assert found[1].startswith("spec.data.train[tickets].secretRef (and 1 more) names the Secret 'store'")


def test_one_secret_may_hold_both_kinds_of_credentials() -> None:
    env = secret_env([secret_for("all", "s3://a/b.csv"), secret_for("all", "hf://a/b")])
    assert [one["valueFrom"]["secretKeyRef"]["key"] for one in env] == [
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN",
    ]  # fmt: skip


def test_no_two_secrets_share_a_variable() -> None:
    names = ["a-b", "ab", "a--b", "a-b-", "a"]
    assert len({variable(name, "K") for name in names}) == len(names)
    assert secret_env([UsedSecret("a", ("K",)), UsedSecret("a", ("K",))]) == secret_env([UsedSecret("a", ("K",))])
