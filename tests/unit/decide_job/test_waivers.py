"""EvalWaivers: what they lift, for whom, until when; and that the verdict names them."""

from datetime import timedelta
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import EvalGate
from serin_operator.decide.job import decide_job
from serin_operator.decide.policies import in_force, no_longer_waived, of_namespace, waiver_ref
from serin_operator.manifests import names
from support.jobs import MODEL_DIGEST, NOON, World, a_gate, a_policy, policy, waiver

REVISION = names.revision("bot", MODEL_DIGEST)
MISSED = a_policy(max="5")  # the model's perplexity is 9


def play(world: World, looks: int = 30) -> World:
    for _ in range(looks):
        world.act(decide_job(world.snapshot()))
        world.now += timedelta(seconds=1)
        for run in world.running():
            world.finish(run)
    return world


def record(world: World) -> dict[str, Any]:
    return world.revisions[REVISION]["status"]["gate"]


def asked(world: World) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in world.status["gate"]["requirements"]}


def test_a_waived_requirement_is_judged_and_told_and_does_not_count() -> None:
    assert play(World(policies=(MISSED,))).status["state"] == "Rejected"
    world = play(World(policies=(MISSED,), waivers=(waiver(),)))
    assert (world.status["state"], record(world)["verdict"]) == ("Passed", "Passed")
    assert asked(world)["sane"]["verdict"] == "Failed"
    assert asked(world)["sane"]["source"] == "policy floor (waived by german until 2026-01-01 13:00 UTC)"


def test_status_and_record_name_the_waiver_with_its_owner_reason_and_end() -> None:
    world = play(World(policies=(MISSED,), waivers=(waiver(),)))
    assert record(world)["waivers"] == world.status["gate"]["waivers"]
    assert world.status["gate"]["waivers"] == [
        {
            "name": "german",
            "uid": "uid-german",
            "generation": 1,
            "policy": "floor",
            "requirements": ["sane"],
            "owner": "safety@example.com",
            "reason": "the German rows are being corrected",
            "expiresAt": "2026-01-01T13:00:00Z",
        }
    ]


def test_it_is_told_as_an_event_once() -> None:
    world = World(policies=(MISSED,), waivers=(waiver(),))
    told: list[str] = []
    for _ in range(30):
        decision = decide_job(world.snapshot())
        told += [event.message for event in decision.events if event.reason == "Waived"]
        world.act(decision)
        for run in world.running():
            world.finish(run)
    assert told == ["sane of policy floor did not count: german of safety@example.com"]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"requirements": ["other"]}, id="another requirement"),
        pytest.param({"policyRef": {"name": "other"}}, id="another policy"),
        pytest.param({"jobs": ["other"]}, id="another job"),
        pytest.param({"expiresAt": NOON}, id="a time that is over"),
    ],
)
def test_a_waiver_for_something_else_lifts_nothing(other: dict[str, Any]) -> None:
    world = play(World(policies=(MISSED,), waivers=(waiver(**other),)))
    assert world.status["state"] == "Rejected"
    assert "waivers" not in world.status["gate"]


def test_a_waiver_lifts_nothing_of_the_teams_own_gates() -> None:
    strict = a_gate(min="0.9").model_dump(by_alias=True, exclude_none=True)
    strict["metadata"]["name"] = "floor"
    strict["spec"]["requirements"][0]["name"] = "sane"
    gate = EvalGate.model_validate(strict)
    world = World(spec={"gates": [{"name": "floor"}]}, gates={"floor": gate}, waivers=(waiver(),))
    assert play(world).status["state"] == "Rejected"


def test_the_job_that_it_names_is_let_through() -> None:
    assert play(World(policies=(MISSED,), waivers=(waiver(jobs=["bot"]),))).status["state"] == "Passed"


def test_when_it_expires_the_model_is_judged_anew_from_the_stored_scores() -> None:
    world = play(World(policies=(MISSED,), waivers=(waiver(),)))
    pods, wait = len(world.created), decide_job(world.snapshot()).requeue_after
    assert wait is not None
    assert wait <= timedelta(hours=1)
    world.now = NOON + timedelta(hours=1)
    play(world, looks=3)
    assert (world.status["state"], record(world)["verdict"]) == ("Rejected", "Failed")
    assert "the waiver german expired 2026-01-01 13:00 UTC" in world.status["message"]
    assert "waivers" not in record(world)
    assert len(world.created) == pods


def test_when_it_is_taken_back_the_model_is_judged_anew() -> None:
    world = play(World(policies=(MISSED,), waivers=(waiver(),)))
    world.waivers = ()
    assert play(world, looks=3).status["state"] == "Rejected"


def test_a_waiver_that_comes_lets_a_rejected_model_through_without_measuring() -> None:
    world = play(World(policies=(MISSED,)))
    pods = len(world.created)
    world.waivers = (waiver(),)
    assert play(world, looks=3).status["state"] == "Passed"
    assert len(world.created) == pods


def test_of_several_the_longest_counts() -> None:
    longer = waiver("longer", expiresAt=NOON + timedelta(hours=3))
    world = play(World(policies=(MISSED,), waivers=(longer, waiver(), waiver("over", expiresAt=NOON))))
    assert [one["name"] for one in world.status["gate"]["waivers"]] == ["longer"]


def test_a_waiver_of_what_is_only_audited_is_no_waiver() -> None:
    world = play(World(policies=(a_policy(mode="Audit", max="5"),), waivers=(waiver(),)))
    assert world.status["state"] == "Passed"
    assert "waivers" not in world.status["gate"]


def test_two_requirements_that_contradict_do_so_no_more_when_one_is_waived() -> None:
    floor = policy(requirements=[{"name": "sane", "metric": "RougeL", "min": "0.1", "max": "0.2"}])
    gates = {"quality": a_gate(min="0.3")}
    assert play(World(gates=gates, policies=(floor,)), looks=3).status["state"] == "Waiting"
    assert play(World(gates=gates, policies=(floor,), waivers=(waiver(),))).status["state"] == "Passed"


# --- as the service reads them -------------------------------------------------------------------------------------


def test_a_waiver_that_is_being_deleted_or_for_others_is_none_of_the_namespace() -> None:
    going = waiver("going", meta={"deletionTimestamp": NOON})
    found = of_namespace([waiver(), going, waiver("others", namespaces=["sales"])], "ml")
    assert [one.metadata.name for one in found] == ["german"]


@pytest.mark.parametrize(
    ("there", "hours", "why"),
    [
        pytest.param([waiver()], 0, "", id="it holds"),
        pytest.param([waiver()], 1, "german expired at 2026-01-01 13:00:00 UTC", id="expired"),
        pytest.param([], 0, "german was changed or taken back", id="gone"),
        pytest.param([waiver(generation=2)], 0, "german was changed or taken back", id="changed"),
    ],
)
def test_a_verdict_that_leans_on_a_waiver_falls_with_it(there: list[Any], hours: int, why: str) -> None:
    recorded = [waiver_ref(waiver(), ["sane"])]
    assert no_longer_waived(recorded, there, NOON + timedelta(hours=hours)) == why


def test_it_holds_up_to_its_last_moment() -> None:
    assert in_force(waiver(), NOON + timedelta(minutes=59, seconds=59))
    assert not in_force(waiver(), NOON + timedelta(hours=1))


# --- slices in policies --------------------------------------------------------------------------------------------


def sliced(field: str = "language") -> dict[str, EvalGate]:
    manifest = a_gate().model_dump(by_alias=True, exclude_none=True)
    manifest["spec"]["suites"][0]["slices"] = [{"field": field}]
    return {"quality": EvalGate.model_validate(manifest)}


GERMAN = {"name": "german", "metric": "RougeL", "min": "0.3", "slice": {"field": "language", "value": "de"}}


def test_a_policy_asks_for_a_slice_of_every_suite_that_has_it() -> None:
    world = play(World(gates=sliced(), policies=(policy(requirements=[GERMAN]),)))
    assert world.status["state"] == "Held"
    assert "produced no heldout/RougeL@language=de" in world.status["message"]


def test_a_slice_that_no_suite_is_cut_by_is_told_before_anything_trains() -> None:
    world = play(World(gates=sliced("product"), policies=(policy(requirements=[GERMAN]),)), looks=3)
    assert (world.created, world.status["state"]) == ([], "Waiting")
    assert (
        "no suite of the job's gates or of the policy measures by language; add the metric" in world.status["message"]
    )
    assert "and the field to its slices" in world.status["message"]
