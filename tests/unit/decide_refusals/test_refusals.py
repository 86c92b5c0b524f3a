"""What the apiserver refused, told by cause and with advice. The sentences are those of Kubernetes 1.34."""

from dataclasses import replace

import pytest
from serin_operator.api.v1alpha1 import ConditionStatus
from serin_operator.decide.job import decide_job
from serin_operator.decide.refusals import CONDITION, Refusal, refusal_finding
from support.jobs import World

QUOTA = Refusal(
    "Job", "bot-train-1", 403,
    'jobs.batch "bot-train-1" is forbidden: exceeded quota: team, requested: count/jobs.batch=1, used:'
    " count/jobs.batch=0, limited: count/jobs.batch=0",
)  # fmt: skip


@pytest.mark.parametrize(
    ("code", "said", "reason"),
    [
        (403, QUOTA.said, "QuotaExceeded"),
        (403, 'jobs.batch "j" is forbidden: failed quota: q: must specify limits.cpu for: train', "QuotaExceeded"),
        (403, 'pods "p" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot', "PodSecurityViolated"),
        (403, 'jobs.batch is forbidden: User "u" cannot create resource "jobs" in API group "batch"', "NotAuthorized"),
        (422, "jobs.batch \"j\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
         "AdmissionDenied"),
        (400, 'admission webhook "w.example.com" denied the request: no', "AdmissionDenied"),
        (403, 'jobs.batch "j" is forbidden: unable to create new content in namespace n because it is being terminated',
         "NamespaceTerminating"),
        (422, 'Deployment.apps "d" is invalid: spec.template.spec.containers[0].resources.requests: too big', "Invalid"),
        (404, "the server could not find the requested resource", "KindNotServed"),
        (405, "the server does not allow this method", "Refused"),
    ],
)  # fmt: skip
def test_each_cause_has_its_reason(code: int, said: str, reason: str) -> None:
    found = refusal_finding(Refusal("Job", "j", code, said))
    assert (found.type, found.status, found.reason) == (CONDITION, ConditionStatus.FALSE, reason)
    assert found.message.startswith("Job j was refused: ")
    assert found.message.endswith("; it is tried again by itself")


def test_without_a_refusal_the_condition_is_true_from_the_first_look() -> None:
    assert refusal_finding(None).status is ConditionStatus.TRUE


def test_a_job_says_so_and_tries_the_write_again() -> None:
    world = World()
    world.act(decide_job(world.snapshot()), most=1)  # the journal is written, the objects were refused
    refused = decide_job(replace(world.snapshot(), refused=QUOTA))
    world.act(refused)
    conditions = {one["type"]: one for one in world.status["conditions"]}
    assert conditions[CONDITION]["reason"] == "QuotaExceeded"
    assert world.status["state"] == "Waiting"
    assert "raise the ResourceQuota" in world.status["message"]
    assert conditions["Stalled"]["status"] == "False"
    assert world.created, "the write is tried again"

    world.act(decide_job(world.snapshot()))
    conditions = {one["type"]: one for one in world.status["conditions"]}
    assert (world.status["state"], conditions[CONDITION]["status"]) == ("Preparing", "True")
