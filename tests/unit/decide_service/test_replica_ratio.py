"""Without a gateway: one Service in front, and shares by numbers of ready pods.

The world checks on each write that nobody but stable and candidate is behind the Service, that no numbers give more than was
asked, and that the stable keeps its pods (support/by_pods.py).
"""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from serin_operator.api.kinds import SERVICE
from serin_operator.decide.policies import Policies, refs
from serin_operator.decide.service import front, ratio
from serin_operator.manifests import names
from support.by_pods import FRONT, ByPods, a_service_by_pods, with_stable_by_pods
from support.jobs import policy
from support.service_world import Model, deaths, play, revision_name, stable_is

A, B, C = revision_name("a"), revision_name("b"), revision_name("c")
QUARTER = [{"weightPercent": 25, "holdSeconds": 20}, {"weightPercent": 100, "holdSeconds": 20}]


def shares(world: ByPods) -> list[dict[str, int]]:
    return [ready for ready, _ in world.ratio_log]


def in_its_step(percent: int = 25, replicas: int = 3, max_replicas: int | None = None, **canary: Any) -> ByPods:
    """A candidate whose first step has begun, with its share taken up."""
    steps = [{"weightPercent": percent, "holdSeconds": 20}, {"weightPercent": 100, "holdSeconds": 20}]
    world, _ = with_stable_by_pods(replicas=replicas, max_replicas=max_replicas, **{"steps": steps, **canary})
    world.passes("b")
    play(world, 40, until=lambda world: "stepStartedAt" in world.status.get("candidate", {}))
    assert world.status["candidate"]["step"] == 1
    return world


# --- the way of a good model ----------------------------------------------------------------------------------------


def test_the_first_model_gets_everything_by_the_service_of_the_services_name() -> None:
    world, stable = with_stable_by_pods(replicas=2)
    assert world.selects == stable
    assert world.ready == {A: 2}
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("RouteProgrammed")["reason"] == "EndpointsAgree"
    assert world.condition("GatewayReady")["reason"] == "NoGateway"
    assert not [kind for kind, _ in world.objects if kind == "HTTPRoute"]


def test_a_good_model_gets_its_share_by_pods_and_then_everything_and_no_request_is_lost() -> None:
    world, _ = with_stable_by_pods(replicas=3, steps=QUARTER)
    world.passes("b")
    play(world, 150, until=stable_is(B))
    play(world, 60)
    seen = shares(world)
    assert {A: 3, B: 1} in seen
    assert world.ready == {B: 3}
    assert world.running() == {B}
    assert world.failures == 0
    assert "ReplicaRatio" not in world.sentences[-1]


def test_before_the_last_step_moves_everything_the_candidate_has_all_its_pods() -> None:
    world, _ = with_stable_by_pods(replicas=3, steps=QUARTER)
    world.passes("b")
    play(world, 150, until=stable_is(B))
    alone = next(number for number, ready in enumerate(shares(world)) if A not in ready)
    assert shares(world)[alone] == {B: 3}
    assert shares(world)[alone - 1][A] == 3
    assert world.ready_of(A) >= 3


def test_no_pod_of_the_candidate_is_behind_the_service_before_its_first_step() -> None:
    world, _ = with_stable_by_pods(replicas=3, steps=QUARTER)
    world.passes("b", Model(starts_in=8))
    world.say("pause/1")
    play(world, 30)
    assert world.ready_of(B) == 1
    assert world.ready == {A: 3}
    assert world.selects == A


def test_the_clock_of_a_step_starts_when_the_endpoints_say_so() -> None:
    world, _ = with_stable_by_pods(replicas=3, steps=QUARTER)
    world.passes("b")
    play(world, 20, until=lambda world: world.selects == "*")
    world.gateway_up = False  # the EndpointSlices' controller stands still
    world.slices = [{"endpoints": [one for one in world.slices[0]["endpoints"] if A in one["targetRef"]["name"]]}]
    play(world, 30)
    assert "stepStartedAt" not in world.status["candidate"]
    assert world.condition("RouteProgrammed")["reason"] == "Pending"
    world.gateway_up = True
    play(world, 5)
    assert "stepStartedAt" in world.status["candidate"]


def test_no_pod_is_changed_to_move_traffic() -> None:
    world, _ = with_stable_by_pods(replicas=3, steps=QUARTER)
    before = world.objects[("Deployment", A)]["spec"]["template"]
    world.passes("b")
    play(world, 30, until=lambda world: world.ready == {A: 3, B: 1})
    born = world.objects[("Deployment", B)]["spec"]["template"]
    play(world, 120, until=stable_is(B))
    assert world.objects[("Deployment", A)]["spec"]["template"] == before
    assert world.objects[("Deployment", B)]["spec"]["template"] == born


def test_each_change_of_weight_is_one_write_of_the_service_and_a_settled_one_none() -> None:
    world, _ = with_stable_by_pods(replicas=3, steps=QUARTER)
    world.passes("b")
    play(world, 150, until=stable_is(B))
    assert world.writes.count("apply Service bot") == 2  # to all pods, and to the new one's
    play(world, 45)
    world.writes.clear()
    play(world, 30)
    assert [write for write in world.writes if write != "status ModelService bot"] == []


# --- numbers --------------------------------------------------------------------------------------------------------


def test_the_stable_gets_more_pods_where_one_of_the_candidate_would_be_too_many() -> None:
    world = in_its_step(percent=10, replicas=2, max_replicas=10)
    assert world.ready == {A: 9, B: 1}
    told = world.status["replicaRatio"]
    assert (told["askedPercent"], told["givenPercent"]) == (10, "10")
    assert world.status["canaryPercent"] == 10
    play(world, 120, until=stable_is(B))
    play(world, 60)
    assert world.ready == {B: 2}


def test_what_is_given_instead_of_what_was_asked_is_told_with_what_it_would_take() -> None:
    world = in_its_step(percent=30, replicas=3)
    assert world.ready == {A: 3, B: 1}
    play(world, 1)
    told = world.status["replicaRatio"]
    assert told["message"] == (
        "asked 30 percent; 1 of 4 ready pods is the candidate's, so about 25 percent: exactly 30 percent needs 10 pods"
        " (spec.traffic.maxReplicas is 6)"
    )
    assert (told["givenPercent"], told["candidatePods"], told["stablePods"]) == ("25", 1, 3)
    assert world.condition("RouteProgrammed")["message"] == told["message"]
    assert "about 25 percent (1 of 4 ready pods; asked 30)" in world.status["message"]


def test_pods_of_the_stable_that_fail_make_the_share_larger_and_that_is_told_and_no_step_ends_meanwhile() -> None:
    world = in_its_step(percent=25, replicas=3)
    world.broken[A] = 2
    play(world, 60)
    told = world.status["replicaRatio"]
    assert told["givenPercent"] == "50"
    assert "more than asked: pods of the stable are missing" in told["message"]
    assert world.status["candidate"]["step"] == 1
    world.broken[A] = 0
    play(world, 8)
    assert world.status["candidate"]["step"] == 2


def test_the_stables_new_pods_are_ready_before_the_candidate_gets_any_more() -> None:
    steps = [{"weightPercent": n, "holdSeconds": 5} for n in (10, 20, 100)]
    world, _ = with_stable_by_pods(replicas=4, max_replicas=20, steps=steps)
    world.passes("b")
    play(world, 60, until=lambda world: world.ready == {A: 9, B: 1})
    play(world, 90, until=lambda world: world.ready == {A: 4, B: 1})
    assert world.status["replicaRatio"]["askedPercent"] == 20


def test_a_share_that_needs_more_of_both_begins_with_the_stable() -> None:
    steps = [{"weightPercent": n, "holdSeconds": 5} for n in (10, 15, 100)]
    world, _ = with_stable_by_pods(replicas=2, max_replicas=20, steps=steps)
    world.passes("b")
    play(world, 120, until=lambda world: world.ready == {A: 17, B: 3})
    seen = shares(world)
    assert {A: 17, B: 1} in seen
    assert seen.index({A: 9, B: 1}) < seen.index({A: 17, B: 1}) < seen.index({A: 17, B: 3})


def test_steps_that_keep_the_share_keep_the_pods() -> None:
    steps = [QUARTER[0], {"approval": {}}, QUARTER[1]]
    world, _ = with_stable_by_pods(replicas=3, steps=steps)
    world.passes("b")
    play(world, 60, until=lambda world: world.status["state"] == "AwaitingApproval")
    play(world, 10)
    assert world.ready == {A: 3, B: 1}
    assert world.status["candidate"]["step"] == 2
    world.say("approve/1")
    play(world, 90, until=stable_is(B))
    assert world.ready == {B: 3}


def test_a_share_above_half_is_given_as_far_as_the_pods_go_and_that_is_told() -> None:
    steps = [{"weightPercent": n, "holdSeconds": 5} for n in (25, 75, 100)]
    world, _ = with_stable_by_pods(replicas=3, steps=steps)
    world.passes("b")
    play(world, 60, until=lambda world: world.status.get("replicaRatio", {}).get("askedPercent") == 75)
    play(world, 9, until=lambda world: world.ready == {A: 3, B: 3})
    play(world, 1)
    assert (
        "asked 75 percent; 3 of 6 ready pods are the candidate's, so about 50 percent"
        in world.status["replicaRatio"]["message"]
    )
    play(world, 60, until=stable_is(B))


# --- bad models -----------------------------------------------------------------------------------------------------


def test_a_bad_model_is_out_of_the_service_by_one_write_at_the_look_that_rejects_it() -> None:
    world = in_its_step()
    world.models[B].says("latency", world.models[B].samples["latency"].kind, 9.0)
    world.writes.clear()
    play(world, 10, until=lambda world: world.is_rejected(B))
    rejecting = next(n for n, write in enumerate(world.writes) if write == f"status ModelRevision {B}")
    moved = world.writes.index("apply Service bot")
    assert rejecting < moved
    assert not [write for write in world.writes[:moved] if "Deployment" in write]
    assert world.ready == {A: 3}
    play(world, 3)
    assert "weightZeroAt" in world.rollout(B)["rejection"]


def test_its_pods_go_as_soon_as_nobody_is_sent_to_them_since_connections_stay_where_they_are() -> None:
    world = in_its_step()
    world.say("abort/1")
    play(world, 5)
    assert world.running() == {A}
    assert world.failures == 0


def test_a_crash_of_the_operator_after_any_write_of_a_rollback_leaves_the_bad_model_out() -> None:
    world = in_its_step()
    world.say("abort/1")
    seen = 0
    for other in deaths(world, 4):
        seen += 1
        play(other, 4)
        assert other.ready == {A: 3}
        assert other.is_rejected(B)
    assert seen >= 6


def test_a_crash_after_any_write_of_a_promotion_ends_the_same() -> None:
    world = in_its_step(replicas=2, percent=34)
    play(world, 24, until=lambda world: world.status["candidate"]["step"] == 2)
    seen = 0
    for other in deaths(world, 30):
        seen += 1
        play(other, 60, until=stable_is(B))
        play(other, 2)
        assert other.status["stable"]["revision"] == B
        assert other.ready == {B: 2}
        assert other.failures == 0
    assert seen >= 8


def test_a_bad_model_in_its_bake_gives_everything_back_at_once_to_all_pods_of_the_one_before() -> None:
    world, _ = with_stable_by_pods(replicas=3, steps=QUARTER, bakeSeconds=100)
    world.passes("b")
    play(world, 150, until=stable_is(B))
    play(world, 5)
    assert world.ready_of(A) == 3
    world.models[B].crashed_at = world.now
    play(world, 3)
    assert world.status["stable"]["revision"] == A
    assert world.ready == {A: 3}
    assert world.failures == 0


def test_a_candidate_whose_pods_are_lost_is_taken_out_and_comes_back_with_all_of_its_step() -> None:
    world = in_its_step(percent=50, replicas=2)
    assert world.ready == {A: 2, B: 2}
    world.broken[B] = 2
    play(world, 2)
    assert world.selects == A
    world.broken[B] = 1
    play(world, 8)
    assert world.selects == A
    assert f"1 of 2 pods of {B} are ready" in world.status["message"]
    world.broken[B] = 0
    play(world, 8)
    assert world.ready == {A: 2, B: 2}


# --- a third revision -----------------------------------------------------------------------------------------------


def test_a_newer_candidate_is_not_started_before_the_service_is_read_back_with_the_stable_alone() -> None:
    world = in_its_step()
    world.passes("c")
    world.look()
    assert world.status["candidate"]["revision"] == C
    assert world.selects == A
    assert C not in world.running()
    play(world, 4)
    assert C in world.running()
    play(world, 150, until=stable_is(C))
    assert world.ready == {C: 3}


def test_a_crash_after_any_write_of_its_taking_over_lets_nobody_else_in() -> None:
    world = in_its_step()
    world.passes("c")
    for other in deaths(world, 6):
        for _ in range(12):
            other.tick()  # whatever was started becomes ready while nobody looks
        play(other, 25)
        assert set(other.ready) <= {A, C}


def test_all_pods_are_selected_only_when_those_of_others_are_gone_and_that_is_told() -> None:
    world, _ = with_stable_by_pods(replicas=2, steps=[{"weightPercent": 50, "holdSeconds": 5}, QUARTER[1]])
    world.passes("b")
    play(world, 90, until=stable_is(B))
    world.passes("c")
    play(world, 12)
    assert A in world.running()
    assert world.selects == B
    assert f"waiting until the pods of {A} are gone" in world.status["message"]
    play(world, 60, until=lambda world: world.ready == {B: 2, C: 2})
    assert world.ready == {B: 2, C: 2}


# --- what others do to the Service ----------------------------------------------------------------------------------


@pytest.mark.parametrize("selector", [{"app": "mine"}, {names.SERVICE: "bot", names.STAGE: "serve"}])
def test_a_selector_of_somebody_else_is_put_right(selector: dict[str, str]) -> None:
    world, _ = with_stable_by_pods(replicas=2)
    world.select_by_hand(selector)
    world.look()
    assert world.selects == A


def test_in_a_step_a_selector_of_somebody_else_begins_it_anew() -> None:
    world = in_its_step()
    play(world, 12)
    world.select_by_hand({names.SERVICE: "bot", names.STAGE: "serve", names.REVISION: A})
    play(world, 4)
    assert world.ready == {A: 3, B: 1}
    assert world.status["candidate"].get("watchedSeconds", 0) < 5


def test_a_service_that_is_deleted_is_made_again() -> None:
    world = in_its_step()
    world.remove(*FRONT)
    play(world, 8)
    assert world.ready == {A: 3, B: 1}


def test_a_service_that_was_there_before_is_left_alone_and_told() -> None:
    world = ByPods(a_service_by_pods())
    theirs = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bot", "namespace": "ml", "uid": "x"},
              "spec": {"selector": {"app": "theirs"}}}  # fmt: skip
    world.put(SERVICE, theirs)
    world.passes("a")
    play(world, 15)
    assert world.objects[FRONT]["spec"] == theirs["spec"]
    for type_ in ("RouteProgrammed", "Stalled"):
        assert world.condition(type_)["reason"] == "ServiceNameTaken"
        assert "give the ModelService another name" in world.condition(type_)["message"]
    assert world.condition("Ready")["status"] == "False"


# --- the platform team's ceiling ------------------------------------------------------------------------------------


def under_a_ceiling(stride: int, replicas: int, max_replicas: int | None) -> ByPods:
    """A candidate that was judged under a policy which lets a step add so much."""
    steps = [{"weightPercent": 50, "holdSeconds": 2}, QUARTER[1]]
    world, _ = with_stable_by_pods(replicas=replicas, max_replicas=max_replicas, steps=steps)
    limit = policy(limits={"maxCanaryStepPercent": stride})
    world.policies = Policies((limit,))
    world.passes("b")
    judged_under(world, limit)
    return world


def judged_under(world: ByPods, limit: Any) -> None:
    world.objects[("ModelRevision", B)]["status"]["gate"]["policies"] = [ref.manifest() for ref in refs((limit,), {})]


def given(world: ByPods) -> list[float]:
    return [ready.get(B, 0) / sum(ready.values()) for ready in shares(world) if ready]


def test_a_ceiling_is_held_against_what_the_pods_give_and_more_pods_let_it_go_on() -> None:
    world = under_a_ceiling(25, replicas=2, max_replicas=4)
    play(world, 90)
    assert world.status["state"] != "Stable"
    assert world.status["stable"]["revision"] == A
    assert world.condition("Stalled")["reason"] == "ShareTooCoarse"
    assert "maxReplicas: 8 gives every step what it asks" in world.condition("Stalled")["message"]
    assert max(given(world)) <= 0.5
    world.edit(lambda spec: spec["traffic"].update(maxReplicas=8))
    play(world, 200, until=stable_is(B))
    assert given(world)[-1] == 1
    assert max(later - earlier for earlier, later in itertools.pairwise(given(world))) <= 0.25


def test_a_first_step_that_a_ceiling_makes_too_small_gets_nobody_and_says_what_it_takes() -> None:
    world = under_a_ceiling(10, replicas=1, max_replicas=None)
    play(world, 40)
    assert shares(world) in ([{A: 1}], [])
    assert world.condition("Stalled")["reason"] == "ShareTooCoarse"
    assert "2 pods in all" in world.status["message"]
    assert "maxReplicas: 10 gives every step what it asks" in world.status["message"]


def test_a_ceiling_that_comes_in_a_step_takes_the_candidate_back_to_what_it_allows() -> None:
    world = in_its_step(percent=50, replicas=2, max_replicas=20)
    assert given(world)[-1] == 0.5
    limit = policy(limits={"maxCanaryStepPercent": 5})
    world.policies = Policies((limit,))
    judged_under(world, limit)
    world.ratio_log.clear()
    play(world, 12)
    assert given(world)[-1] <= 0.1
    assert max(given(world)) <= 0.5


# --- a stable that is lost ------------------------------------------------------------------------------------------


def test_when_the_stable_is_lost_the_candidate_gets_everything_with_the_pods_that_it_has() -> None:
    world, _ = with_stable_by_pods(replicas=2, steps=[{"weightPercent": 50, "holdSeconds": 5}, QUARTER[1]])
    world.models[A].ready = False
    world.passes("b")
    play(world, 150, until=stable_is(B))
    assert world.ready == {B: 2}


# --- the world's checks find what is broken --------------------------------------------------------------------------


def one_model_after_another() -> None:
    world, _ = with_stable_by_pods(replicas=2, steps=[{"weightPercent": 50, "holdSeconds": 5}, QUARTER[1]])
    world.passes("b")
    play(world, 90, until=stable_is(B))
    world.passes("c")
    play(world, 20)


def a_good_model() -> None:
    world, _ = with_stable_by_pods(replicas=3, steps=QUARTER)
    world.passes("b")
    play(world, 60)


def a_stable_that_lacks_pods() -> None:
    world, _ = with_stable_by_pods(
        replicas=1, max_replicas=10, steps=[{"weightPercent": 10, "holdSeconds": 5}, QUARTER[1]]
    )
    world.passes("b")
    world.broken[A] = 5
    play(world, 20)


BROKEN: dict[str, tuple[Callable[[], None], Any, str, Any]] = {
    "all pods are selected": (one_model_after_another, ratio, "strangers", lambda s: []),
    "gets everything with": (a_good_model, front, "_may_take_over", lambda s, name: True),
    "percent asked": (a_stable_that_lacks_pods, front, "_fit_for_both", lambda s, plan: True),
}


@pytest.mark.parametrize("said", BROKEN)
def test_a_broken_rule_is_found(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    story, module, name, broken = BROKEN[said]
    monkeypatch.setattr(module, name, broken)
    with pytest.raises(AssertionError, match=said):
        story()


def test_a_stable_whose_record_was_deleted_gets_the_pods_of_a_step_all_the_same() -> None:
    world, _ = with_stable_by_pods(
        replicas=2, max_replicas=10, steps=[{"weightPercent": 20, "holdSeconds": 20}, *QUARTER[1:]]
    )
    world.remove("ModelRevision", A)
    world.passes("b")
    play(world, 60, until=lambda world: world.ready == {A: 4, B: 1})
    assert f"amend Deployment {A}" in world.writes
    play(world, 150, until=stable_is(B))
    assert world.ready == {B: 2}
    assert world.failures == 0


def test_nobody_new_is_started_while_all_pods_are_selected_because_the_stable_does_not_answer() -> None:
    world = in_its_step()
    world.broken[A] = 9
    world.tick(1)
    world.touch("ModelRevision", B, lambda status: status["gate"].update(verdict="Failed"))
    play(world, 10)
    assert world.status.get("candidate") is None
    assert world.selects == "*"
    world.passes("c")
    play(world, 20)
    assert C not in world.running()
    world.broken.clear()
    play(world, 200, until=stable_is(C))
