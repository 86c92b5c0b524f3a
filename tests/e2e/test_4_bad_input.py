"""Bad input: each kind becomes a condition with a reason and advice, and the job goes on once the cause is gone.

All jobs are applied at once and wait beside each other; then every cause is removed, and all of them go on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from e2e.bench import TINY_MODEL, Bench, small, until
from serin_demo import staging
from serin_demo.kube import Kubectl, Object, condition
from serin_demo.stories import Player, manifests

NAMESPACE = "serin-e2e-input"
TRAIN = "data__train"
GOOD_ROWS = "".join(f'{{"prompt": "What is {number}?", "completion": " It is {number}."}}\n' for number in range(40))


@dataclass(frozen=True)
class Case:
    """One mistake: what is different in the job, and the condition that has to say so."""

    name: str
    condition: str
    reason: str
    advice: str
    changes: dict[str, Any] = field(default_factory=dict)


def source(uri: str) -> dict[str, Any]:
    return {TRAIN: [{"name": "rows", "uri": uri}]}


CASES = (
    Case(
        "no-claim", "ReferencesResolved", "PersistentVolumeClaimNotFound", "create it", source("pvc://late/rows.jsonl")
    ),
    Case("no-file", "DataPrepared", "DatasetNotFound", "put the file there", source("pvc://datasets/absent.jsonl")),
    Case("empty-file", "DataPrepared", "TooFewRows", "fill the file", source("pvc://datasets/empty.jsonl")),
    Case("invalid-file", "DataPrepared", "DatasetInvalid", "rows are JSON objects", source("pvc://datasets/bad.jsonl")),
    Case(
        "no-model", "DataPrepared", "ModelNotFound", "correct baseModel.uri", {"baseModel__uri": "pvc://models/absent"}
    ),
    Case("no-hub", "DataPrepared", "ModelUnreachable", "", {"baseModel__uri": "hf://nobody/nothing"}),
    Case("no-gate", "ReferencesResolved", "EvalGateNotFound", "apply it", {"gates": [{"name": "late-gate"}]}),
    Case(
        "no-service",
        "ReferencesResolved",
        "ModelServiceNotFound",
        "apply it",
        {"rollout": {"modelServiceRef": {"name": "late-service"}}},
    ),
)
IDS = [case.name for case in CASES]


@dataclass
class Mistakes:
    """The namespace, and each job as it stood when it had to wait and after its cause was gone."""

    player: Player
    waiting: dict[str, Object] = field(default_factory=dict)
    going_on: dict[str, Object] = field(default_factory=dict)

    @property
    def kubectl(self) -> Kubectl:
        return self.player.kubectl

    def wait(self, case: Case, fact: Callable[[Object], bool], what: str) -> Object:
        """The job as it stood when it was so: a moment later it may be tried again, and say something else."""

        def look() -> Object | None:
            job = self.kubectl.get("finetunejob", case.name) or {}
            return job if fact(job) else None

        return until(look, f"{case.name} {what}", 300)


@pytest.fixture(scope="module")
def mistakes(bench: Bench) -> Mistakes:
    found = Mistakes(bench.stage(NAMESPACE, TINY_MODEL))
    kubectl, image = found.kubectl, bench.cluster.images["trainer"]
    with staging.loader(kubectl, image, ("datasets",)) as on_volumes:
        on_volumes(["sh", "-c", "cd /mnt/pvc/datasets && : > empty.jsonl && echo 'not a row' > bad.jsonl"], b"")
    for name in ("10-gate.yaml", "20-service.yaml"):
        kubectl.apply(found.player.manifests(name))
    (good,) = found.player.manifests("30-base.yaml")
    kubectl.apply(small(good, case.name, **case.changes) for case in CASES)
    for case in CASES:
        found.waiting[case.name] = found.wait(case, lambda job, case=case: said(job, case), f"says {case.reason}")
    remove_causes(found, image)
    for case in CASES:
        found.going_on[case.name] = found.wait(case, prepared, "goes on by itself")
        kubectl.delete("finetunejob", case.name, wait=False)  # its training would only take time
    return found


def said(job: Object, case: Case) -> bool:
    return condition(job, case.condition).get("reason") == case.reason


def prepared(job: Object) -> bool:
    return condition(job, "DataPrepared").get("status") == "True"


def remove_causes(found: Mistakes, image: str) -> None:
    """What a person would do after reading the conditions. The hub stays away: there, the job is changed."""
    kubectl = found.kubectl
    claim, *_ = manifests(found.player.examples / "00-volumes.yaml")
    gate, *_ = found.player.manifests("10-gate.yaml")
    (service,) = found.player.manifests("20-service.yaml")
    claim["metadata"]["name"], gate["metadata"]["name"] = "late", "late-gate"
    service["metadata"]["name"], service["spec"]["traffic"]["hostnames"] = "late-service", ["late.example"]
    kubectl.apply([claim, gate, service])
    script = (
        "cat > /tmp/rows && cp /tmp/rows /mnt/pvc/late/rows.jsonl && cd /mnt/pvc/datasets"
        " && for name in absent empty bad; do cp /tmp/rows $name.jsonl; done"
        " && cp -r /mnt/pvc/models/scratch /mnt/pvc/models/absent"
    )
    with staging.loader(kubectl, image, ("datasets", "models", "late")) as on_volumes:
        on_volumes(["sh", "-c", script], GOOD_ROWS.encode())
    patch = '{"spec": {"baseModel": {"uri": "pvc://models/scratch"}}}'
    kubectl.run("patch", "finetunejob", "no-hub", "--type=merge", "-p", patch)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_condition_names_the_cause_and_what_to_do(mistakes: Mistakes, case: Case) -> None:
    found = condition(mistakes.waiting[case.name], case.condition)
    assert (found["status"], found["reason"]) == ("False", case.reason)
    assert case.advice in found["message"]
    assert len(found["message"]) > 40


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_job_is_not_ready_and_says_why_in_a_sentence(mistakes: Mistakes, case: Case) -> None:
    job = mistakes.waiting[case.name]
    assert condition(job, "Ready")["status"] == "False"
    assert job["status"]["message"]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_job_goes_on_once_the_cause_is_gone(mistakes: Mistakes, case: Case) -> None:
    assert prepared(mistakes.going_on[case.name])


REFUSED = (
    ("a field that does not exist", {"surprise": 1}, "surprise"),
    ("a learning rate that is no number", {"hyperparameters__learningRate": "fast"}, "learningRate"),
    ("a split that is not a hundred", {"data__split": {"trainPercent": 50}}, "100"),
    ("a file outside of a claim", source("/etc/passwd"), "pvc://"),
    ("a rollout that nobody measures", {"gates": []}, "gate"),
)


@pytest.mark.parametrize(("changes", "word"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_the_apiserver_refuses_at_once_and_names_the_field(
    mistakes: Mistakes, changes: dict[str, Any], word: str
) -> None:
    from serin_demo.errors import KubectlFailed

    (job,) = mistakes.player.manifests("30-base.yaml")
    with pytest.raises(KubectlFailed) as refusal:
        mistakes.kubectl.apply([small(job, "refused", **changes)])
    assert word in str(refusal.value)
