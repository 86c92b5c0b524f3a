"""What is told of policies and waivers themselves, and that it is written only when it is news."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import (
    ClusterEvalPolicy,
    ClusterEvalPolicyStatus,
    Condition,
    EvalWaiver,
    EvalWaiverStatus,
    WaiverUse,
)
from serin_operator.decide.decision import StatusWrite
from serin_operator.decide.platform import decide_platform
from serin_operator.decide.platform.policy import policy_status
from serin_operator.decide.platform.snapshot import Labelled, PlatformSnapshot, PolicyView, WaiverView
from serin_operator.decide.platform.waiver import waiver_status
from support.jobs import NOON, policy, waiver

GOING = {"deletionTimestamp": NOON}
TEAM_A = {"matchLabels": {"team": "a"}}


def sane(**bounds: str) -> dict[str, Any]:
    return {"name": "sane", "metric": "RougeL", "min": "0.3", **bounds}


def of_policy(found: ClusterEvalPolicy | None = None, problem: str = "") -> PolicyView:
    known = found or policy(requirements=[sane()])
    return PolicyView(known.metadata, None if problem else known, problem, ClusterEvalPolicyStatus())


def of_waiver(found: EvalWaiver | None = None, *uses: WaiverUse, problem: str = "") -> WaiverView:
    known = found or waiver()
    return WaiverView(known.metadata, None if problem else known, problem, EvalWaiverStatus(), uses)


def use(job: str = "bot", minutes: int = 0, revision: str | None = None) -> WaiverUse:
    since = NOON - timedelta(minutes=minutes)
    return WaiverUse(namespace="ml", job=job, revision=revision, requirements=["sane"], since=since)


def world(*waivers: WaiverView, policies: tuple[PolicyView, ...] | None = None, **changes: Any) -> PlatformSnapshot:
    """Two namespaces; in the first one, of team a, two jobs and a service."""
    facts: dict[str, Any] = {
        "now": NOON,
        "policies": (of_policy(),) if policies is None else policies,
        "waivers": waivers,
        "namespaces": {"ml": {"team": "a"}, "web": {}},
        "jobs": (Labelled("ml", {"tier": "gold"}), Labelled("ml", {}), Labelled("web", {})),
        "services": ("ml", "web", "web"),
    }
    return PlatformSnapshot(**(facts | changes))


def ready(status: ClusterEvalPolicyStatus | EvalWaiverStatus) -> Condition:
    (found,) = status.conditions
    assert found.type == "Ready"
    return found


def told(status: ClusterEvalPolicyStatus | EvalWaiverStatus) -> tuple[str, str]:
    return ready(status).status.value, ready(status).reason


# --- policies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        pytest.param({}, (2, 3, 3), id="everybody"),
        pytest.param({"namespaceSelector": TEAM_A}, (1, 2, 1), id="one namespace"),
        pytest.param({"jobSelector": {"matchLabels": {"tier": "gold"}}}, (2, 1, 3), id="one job"),
        pytest.param({"namespaceSelector": {"matchLabels": {"team": "z"}}}, (0, 0, 0), id="nobody"),
    ],
)
def test_a_policy_counts_what_it_selects(spec: dict[str, Any], want: tuple[int, int, int]) -> None:
    view = of_policy(policy(requirements=[sane()], **spec))
    found = policy_status(world(), view)
    assert (found.selected_namespaces, found.selected_jobs, found.selected_services) == want


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        pytest.param({}, ("True", "Enforced"), id="in force"),
        pytest.param({"mode": "Audit"}, ("True", "Audited"), id="audit"),
        pytest.param(
            {"namespaceSelector": {"matchLabels": {"team": "z"}}}, ("True", "SelectsNothing"), id="no namespace"
        ),
        pytest.param({"jobSelector": {"matchLabels": {"tier": "z"}}}, ("True", "SelectsNoJob"), id="no job"),
    ],
)
def test_a_policy_that_was_understood_is_ready(spec: dict[str, Any], want: tuple[str, str]) -> None:
    view = of_policy(policy(generation=4, requirements=[sane()], **spec))
    found = policy_status(world(), view)
    assert told(found) == want
    assert found.observed_generation == ready(found).observed_generation == 4


def test_a_policy_that_cannot_be_understood_says_what_of_it_and_counts_nothing() -> None:
    found = policy_status(world(), of_policy(problem="spec.limits.maxTokens: Extra inputs are not permitted"))
    assert told(found) == ("False", "Unreadable")
    assert "spec.limits.maxTokens" in ready(found).message
    assert (found.selected_namespaces, found.selected_jobs, found.selected_services) == (None, None, None)


def test_a_policy_that_is_being_deleted_is_not_ready_and_counts_whom_it_holds() -> None:
    leaving = policy(requirements=[sane()])
    leaving = leaving.model_copy(update={"metadata": leaving.metadata.model_copy(update={"deletion_timestamp": NOON})})
    found = policy_status(world(), of_policy(leaving))
    assert told(found) == ("False", "BeingDeleted")
    assert found.selected_jobs == 3


SUITE = {"name": "own", "dataset": {"uri": "pvc://gates/own.jsonl"}, "metrics": ["RougeL", "ExactMatch"]}
SLICED = {**SUITE, "slices": [{"field": "language"}]}
GERMAN = {"slice": {"field": "language", "value": "de"}}


@pytest.mark.parametrize(
    ("suites", "ceiling", "clashes"),
    [
        pytest.param([], {"metric": "RougeL", "max": "0.2"}, True, id="the same metric"),
        pytest.param([], {"metric": "RougeL", "max": "0.3"}, False, id="just possible"),
        pytest.param([], {"metric": "ExactMatch", "max": "0.2"}, False, id="another metric"),
        pytest.param([SUITE], {"suite": "own", "metric": "RougeL", "max": "0.2"}, True, id="one of every suite"),
        pytest.param([SLICED], {"metric": "RougeL", "max": "0.2", **GERMAN}, False, id="of a slice only"),
    ],
)
def test_a_policy_that_no_model_can_meet_says_so(
    suites: list[dict[str, Any]], ceiling: dict[str, Any], clashes: bool
) -> None:
    found = policy_status(world(), of_policy(policy(suites=suites, requirements=[sane(), {"name": "low", **ceiling}])))
    assert (told(found) == ("False", "Contradicts")) == clashes
    if clashes:
        assert "sane asks for RougeL of at least 0.3, and low for at most 0.2" in ready(found).message


# --- waivers ------------------------------------------------------------------------------------------------------


def test_a_waiver_says_what_it_lifts_for_whom_and_until_when() -> None:
    found = waiver_status(world(), of_waiver(waiver(generation=3, jobs=["bot", "other"])))
    assert told(found) == ("True", "InForce")
    assert ready(found).message == (
        "sane of policy floor do not count of jobs bot, other in ml until 2026-01-01 13:00:00 UTC"
    )
    assert (found.observed_generation, found.state, found.jobs, found.last_uses) == (3, "Unused", 0, [])


def test_a_waiver_under_which_a_verdict_was_given_is_active_and_names_the_run() -> None:
    found = waiver_status(world(), of_waiver(None, use("bot", revision="bot-abc")))
    assert (found.state, found.jobs) == ("Active", 1)
    assert [(one.namespace, one.job, one.revision) for one in found.last_uses] == [("ml", "bot", "bot-abc")]


def test_a_waiver_that_is_over_says_so_and_stays_known_for_its_uses() -> None:
    s = world(of_waiver(None, use()), now=NOON + timedelta(hours=2))
    found = waiver_status(s, s.waivers[0])
    assert (told(found), found.state) == (("False", "Expired"), "Expired")
    assert "expired at 2026-01-01 13:00:00 UTC" in ready(found).message
    assert len(found.last_uses) == 1


@pytest.mark.parametrize(
    ("found", "policies", "reason", "state"),
    [
        pytest.param(waiver(), (), "PolicyNotFound", "Ineffective", id="no such policy"),
        pytest.param(waiver(), (of_policy(problem="?"),), "PolicyUnreadable", "Ineffective", id="an unreadable policy"),
        pytest.param(waiver(requirements=["sain"]), None, "RequirementNotFound", "Ineffective", id="no such one"),
        pytest.param(waiver(requirements=["sain", "sane"]), None, "RequirementNotFound", "Unused", id="one of two"),
        pytest.param(waiver(namespaces=["mll"]), None, "NamespaceNotFound", "Ineffective", id="no such namespace"),
        pytest.param(waiver(namespaces=["ml", "mll"]), None, "NamespaceNotFound", "Unused", id="one of two there"),
        pytest.param(
            waiver(namespaces=["web"]),
            (of_policy(policy(requirements=[sane()], namespaceSelector=TEAM_A)),),
            "NothingToLift",
            "Ineffective",
            id="not selected",
        ),
        pytest.param(waiver(meta=GOING), None, "BeingDeleted", "Ineffective", id="on its way out"),
    ],
)
def test_a_waiver_that_names_what_is_not_there_is_not_ready(
    found: EvalWaiver, policies: tuple[PolicyView, ...] | None, reason: str, state: str
) -> None:
    view = of_waiver(found)
    status = waiver_status(world(view, policies=policies), view)
    assert told(status) == ("False", reason)
    assert status.state == state


def test_a_waiver_that_cannot_be_understood_lifts_nothing() -> None:
    view = of_waiver(problem="spec.onlyFor: Extra inputs are not permitted")
    found = waiver_status(world(view), view)
    assert (told(found), found.state) == (("False", "Unreadable"), "Ineffective")
    assert "spec.onlyFor" in ready(found).message


def test_uses_outlive_their_jobs_and_the_newest_ten_are_kept() -> None:
    first = waiver_status(world(), of_waiver(None, *(use(f"bot-{n}", minutes=n) for n in range(12))))
    assert [one.job for one in first.last_uses] == [f"bot-{n}" for n in range(10)]
    assert first.jobs == 12
    later = replace(of_waiver(None, use("new", minutes=-5)), status=first)
    found = waiver_status(world(), later)
    assert [one.job for one in found.last_uses] == ["new", *(f"bot-{n}" for n in range(9))]
    assert found.jobs == 1


def test_a_job_that_is_judged_again_is_told_once() -> None:
    before = EvalWaiverStatus(last_uses=[use(minutes=30)])
    found = waiver_status(world(), replace(of_waiver(None, use(minutes=3)), status=before))
    assert [one.since for one in found.last_uses] == [NOON - timedelta(minutes=3)]


# --- the decision -------------------------------------------------------------------------------------------------


def read_back(s: PlatformSnapshot, writes: tuple[StatusWrite, ...]) -> PlatformSnapshot:
    """The world after these writes."""
    by = {(write.kind, write.name): write.status for write in writes}

    def stored(kind: str, name: str, model: type[Any], before: Any) -> Any:
        return model.model_validate(by[kind, name]) if (kind, name) in by else before

    return replace(
        s,
        policies=tuple(
            replace(v, status=stored("ClusterEvalPolicy", v.meta.name, ClusterEvalPolicyStatus, v.status))
            for v in s.policies
        ),
        waivers=tuple(
            replace(v, status=stored("EvalWaiver", v.meta.name, EvalWaiverStatus, v.status)) for v in s.waivers
        ),
    )


def test_what_was_written_is_not_written_again() -> None:
    s = world(of_waiver(None, *(use(f"bot-{n}", minutes=n % 3) for n in range(30))))
    first = decide_platform(s)
    assert [(write.kind, write.namespace, write.name) for write in first.statuses] == [
        ("ClusterEvalPolicy", "", "floor"),
        ("EvalWaiver", "", "german"),
    ]
    assert decide_platform(replace(read_back(s, first.statuses), now=NOON + timedelta(minutes=9))).statuses == ()


def test_only_what_changed_is_written_and_conditions_keep_their_time() -> None:
    s = world(of_waiver())
    s = read_back(s, decide_platform(s).statuses)
    later = decide_platform(replace(s, now=NOON + timedelta(minutes=9), jobs=(*s.jobs, Labelled("web", {}))))
    (write,) = later.statuses
    assert (write.name, write.status["selectedJobs"]) == ("floor", 4)
    assert write.status["conditions"][0]["lastTransitionTime"] == "2026-01-01T12:00:00Z"


@pytest.mark.parametrize(
    ("expires_at", "want"),
    [
        pytest.param(NOON + timedelta(hours=1), timedelta(seconds=30), id="at its pace"),
        pytest.param(NOON + timedelta(seconds=7), timedelta(seconds=7), id="when a waiver ends"),
        pytest.param(NOON - timedelta(seconds=7), timedelta(seconds=30), id="after it ended"),
    ],
)
def test_it_is_looked_at_again(expires_at: datetime, want: timedelta) -> None:
    assert decide_platform(world(of_waiver(waiver(expiresAt=expires_at)))).requeue_after == want
