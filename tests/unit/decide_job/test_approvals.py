"""Approvals in the job's loop: who is asked, whose word counts, for what and for how long.

That nobody writes another's name is held by the apiserver; tests/cluster/test_tenants.py tries.
"""

import re
from datetime import timedelta
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import APPROVAL, EvalGate, ModelService
from serin_operator.decide.job import decide_job
from serin_operator.decide.job.approvals import SETTLING, Admission
from serin_operator.manifests import names
from support.jobs import HELD, MODEL_DIGEST, NOON, World, a_gate, a_service, policy, stable_of

REVISION = names.revision("bot", MODEL_DIGEST)
LEADS = {"name": "lead", "groups": ["ml-leads", "ml-deputies"], "validSeconds": 3600}
SAFETY = {"name": "safety", "groups": ["safety"]}


def gate(*approvals: dict[str, Any], **requirement: Any) -> EvalGate:
    manifest = a_gate(**requirement).model_dump(by_alias=True, exclude_none=True)
    return EvalGate.model_validate({**manifest, "spec": {**manifest["spec"], "approvals": list(approvals)}})


def asking(*approvals: dict[str, Any], **fields: Any) -> World:
    """A world whose gate asks for approvals, up to the moment when its model met every requirement."""
    return play(World(gates={"quality": gate(*approvals)}, **fields))


def play(world: World, looks: int = 30) -> World:
    for _ in range(looks):
        world.act(decide_job(world.snapshot()))
        world.now += timedelta(seconds=1)
        for run in world.running():
            world.finish(run)
    return world


def later(world: World, **by: float) -> World:
    world.now += timedelta(**by)
    return play(world, looks=3)


def code(world: World) -> str:
    """What the status tells people to write."""
    found = re.search(r"'approval\.serin\.dev/<a new word>=(\w+) ", world.status["message"])
    assert found is not None, world.status["message"]
    return found.group(1)


def approve(world: World, user: str = "alice", group: str = "ml-leads", nonce: str = "1", text: str = "") -> World:
    world.annotations[f"{APPROVAL}{nonce}"] = text or f"{code(world)} {group} {user}"
    return play(world, looks=3)


def record(world: World) -> dict[str, Any]:
    return world.revisions[REVISION]["status"]["gate"]


def condition(world: World, kind: str = "Approved") -> dict[str, Any]:
    return next(one for one in world.status["conditions"] if one["type"] == kind)


def let_in(world: World) -> World:
    """The model gets its first traffic."""
    candidate = {"revision": REVISION, "digest": MODEL_DIGEST, "step": 1, "since": NOON}
    world.service = a_service(stable_of("bot-1"), candidate)
    return play(world, looks=3)


# --- waiting ------------------------------------------------------------------------------------------------------


def test_without_approvals_nobody_is_waited_for() -> None:
    world = play(World())
    assert world.status["state"] == "Passed"
    assert condition(world)["reason"] == "NotAsked"


def test_a_model_that_meets_all_waits_for_people_and_the_status_says_what_to_write() -> None:
    world = asking(LEADS)
    assert (world.status["state"], record(world)["verdict"]) == ("Held", "Inconclusive")
    assert (
        "every requirement is met, and lead of gate quality waits for a member of ml-leads or ml-deputies"
        in (world.status["message"])
    )
    assert (
        f"kubectl annotate ftj bot -n ml '{APPROVAL}<a new word>={code(world)} <that group> <your user name>'"
        in (world.status["message"])
    )
    assert (condition(world)["status"], condition(world)["reason"]) == ("False", "AwaitingApproval")
    assert condition(world, "GatePassed")["reason"] == "ApprovalMissing"


def test_nobody_is_asked_to_approve_a_model_that_failed() -> None:
    world = play(World(gates={"quality": gate(LEADS, min="0.9")}))
    assert world.status["state"] == "Rejected"
    assert "annotate" not in world.status["message"]
    assert "approvals" not in world.status["gate"]


def test_a_gate_that_is_edited_after_a_model_failed_still_asks_people() -> None:
    world = play(World(gates={"quality": gate(LEADS, min="0.9")}))
    world.gates["quality"] = gate(LEADS, min="0.1")
    play(world, looks=3)
    assert world.status["state"] == "Held"


# --- given --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["ml-leads", "ml-deputies"])
def test_one_member_of_one_of_the_groups_is_enough_and_is_recorded(group: str) -> None:
    world = approve(asking(LEADS), "alice@example.com", group)
    assert (world.status["state"], record(world)["verdict"]) == ("Passed", "Passed")
    (given,) = record(world)["approvals"]
    assert (given["user"], given["group"], given["nonce"]) == ("alice@example.com", group, "1")
    assert (given["outcome"], given["name"], given["source"]) == ("Approved", "lead", "gate quality")
    assert given["givenAt"] < given["expiresAt"]
    assert world.status["gate"]["approvals"] == record(world)["approvals"]
    assert condition(world)["message"].startswith(f"alice@example.com of {group} approved at 2026-01-01 12:")


def test_a_name_with_blanks_is_one_name() -> None:
    world = approve(asking(LEADS), "CN=Alice Liddell")
    assert record(world)["approvals"][0]["user"] == "CN=Alice Liddell"


def test_it_may_be_given_on_the_models_own_record() -> None:
    world = asking(LEADS)
    world.revisions[REVISION]["metadata"]["annotations"] = {f"{APPROVAL}1": f"{code(world)} ml-leads alice"}
    play(world, looks=3)
    assert world.status["state"] == "Passed"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{code} other-team alice", id="of a group that nobody asked"),
        pytest.param("0123456789 ml-leads alice", id="for another model"),
        pytest.param("{code} ml-leads", id="of nobody"),
        pytest.param("yes", id="no approval at all"),
        pytest.param("{code}  ml-leads alice", id="of no group"),
        pytest.param("{code} ml-leads " + "a" * 600, id="longer than any name"),
    ],
)
def test_other_words_approve_nothing(text: str) -> None:
    world = asking(LEADS)
    approve(world, text=text.replace("{code}", code(world)))
    assert world.status["state"] == "Held"
    assert "approvals" not in world.status


def test_every_approval_that_is_asked_for_is_needed() -> None:
    floor = policy(approvals=[SAFETY])
    world = approve(asking(LEADS, policies=(floor,)))
    assert world.status["state"] == "Held"
    assert "safety of policy floor waits for a member of safety" in world.status["message"]
    assert "lead of gate" not in world.status["message"]
    approve(world, "sam", "safety", nonce="2")
    assert world.status["state"] == "Passed"
    assert [one["user"] for one in record(world)["approvals"]] == ["alice", "sam"]


def test_an_audited_policy_holds_nobody_and_is_told() -> None:
    world = play(World(policies=(policy(mode="Audit", approvals=[SAFETY]),)))
    assert world.status["state"] == "Passed"
    (told,) = world.status["gate"]["approvals"]
    assert (told["source"], told["outcome"]) == ("policy floor (audit)", "Awaited")


def test_a_policy_that_asks_for_nothing_but_people_is_enough_to_hold() -> None:
    world = play(World(spec={"gates": [], "rollout": None}, policies=(policy(approvals=[SAFETY]),)))
    assert world.status["state"] == "Held"
    approve(world, "sam", "safety")
    assert world.status["state"] == "Succeeded"


# --- for this model, with these numbers ----------------------------------------------------------------------------


def test_other_requirements_need_another_approval() -> None:
    world = approve(asking(LEADS))
    world.gates["quality"] = gate(LEADS, comparedTo="Base", minImprovement="0.01")
    play(world, looks=3)
    assert world.status["state"] == "Held"


def test_another_model_needs_another_approval() -> None:
    world = approve(asking(LEADS))
    before, world.generation = world.annotations[f"{APPROVAL}1"].split()[0], 2
    world.spec = {"hyperparameters": {"learningRate": "1e-5"}}
    for _ in range(30):
        world.act(decide_job(world.snapshot()))
        for run in world.running():
            digest = {"digest": "sha256:" + "e" * 64} if run.stage.value == "Consolidate" else {}
            world.finish(run, **digest)
    assert world.status["state"] == "Held"
    assert code(world) != before


# --- expiry -------------------------------------------------------------------------------------------------------


def test_an_approval_expires_and_the_job_looks_again_when_it_does() -> None:
    world = approve(asking(LEADS))
    wait = decide_job(world.snapshot()).requeue_after
    assert wait is not None
    assert wait <= timedelta(seconds=3600)
    later(world, seconds=3600)
    assert (world.status["state"], record(world)["verdict"]) == ("Held", "Inconclusive")
    assert "alice approved, and that expired at 2026-01-01 13:" in world.status["message"]
    assert condition(world)["reason"] == "ApprovalExpired"


def test_the_same_words_do_not_renew_it_and_new_ones_do() -> None:
    world = later(approve(asking(LEADS)), hours=2)
    approve(world, nonce="1")
    assert world.status["state"] == "Held"
    approve(world, nonce="2")
    assert world.status["state"] == "Passed"


def test_the_time_begins_when_it_was_first_seen_and_not_at_each_look() -> None:
    world = approve(asking(LEADS))
    first = record(world)["approvals"][0]["givenAt"]
    writes = world.status_writes
    later(world, minutes=30)
    assert record(world)["approvals"][0]["givenAt"] == first
    assert world.status_writes == writes


def test_the_journal_outlives_a_time_in_which_nobody_could_judge() -> None:
    world = approve(asking(LEADS))
    kept = world.status["approvals"]
    world.gates = {}
    play(world, looks=3)
    assert world.status["approvals"] == kept


def test_who_takes_the_words_back_takes_the_approval_back() -> None:
    world = approve(asking(LEADS))
    world.annotations.clear()
    play(world, looks=3)
    assert world.status["state"] == "Held"
    assert "approvals" not in world.status


def test_a_model_with_traffic_stays_let_in_when_the_approval_expires_or_the_requirements_change() -> None:
    world = let_in(approve(asking(LEADS)))
    later(world, hours=5)
    assert record(world)["verdict"] == "Passed"
    world.gates["quality"] = gate(LEADS, comparedTo="Base", minImprovement="0.01")
    play(world, looks=3)
    assert record(world)["verdict"] == "Passed"


def test_an_approval_that_is_taken_back_ends_the_canary() -> None:
    world = let_in(approve(asking(LEADS)))
    world.annotations.clear()
    play(world, looks=3)
    assert record(world)["verdict"] == "Inconclusive"


def test_a_candidate_without_traffic_was_not_let_in_yet() -> None:
    world = approve(asking(LEADS))
    candidate = {"revision": REVISION, "digest": MODEL_DIGEST, "step": 0, "since": NOON}
    world.service = a_service(stable_of("bot-1"), candidate)
    assert isinstance(world.service, ModelService)
    later(world, hours=5)
    assert record(world)["verdict"] == "Inconclusive"


# --- whose word can be believed -----------------------------------------------------------------------------------


def test_where_nobody_holds_people_to_their_names_nothing_is_believed() -> None:
    away = Admission(problem="there is no ValidatingAdmissionPolicy serin-approvals")
    world = asking(LEADS, admission=away)
    assert (world.status["state"], record(world)["verdict"]) == ("Held", "Error")
    assert "no approval can be believed: there is no ValidatingAdmissionPolicy" in world.status["message"]
    assert condition(world)["reason"] == "ApprovalUnproven"
    assert "annotate" not in world.status["message"]  # the code is told only while it proves something


def test_what_was_written_before_names_were_held_is_not_believed_afterwards() -> None:
    """The code is made from the policy's uid, which nobody knew then."""
    world = asking(LEADS)
    guessed = code(world)
    world.admission = Admission(problem="away")
    world.annotations[f"{APPROVAL}1"] = f"{guessed} ml-leads alice"
    play(world, looks=3)
    world.admission = Admission(identity="another/1 binding/1", since=HELD.since)
    play(world, looks=3)
    assert world.status["state"] == "Held"
    approve(world, nonce="2")
    assert world.status["state"] == "Passed"


def test_an_approval_does_not_outlive_the_policy_that_proved_it() -> None:
    world = approve(asking(LEADS))
    world.admission = Admission(problem="away")
    play(world, looks=3)
    assert record(world)["verdict"] == "Error"
    world.admission = HELD
    play(world, looks=3)
    assert record(world)["verdict"] == "Passed"


def test_an_admission_policy_of_just_now_is_waited_for() -> None:
    world = World(gates={"quality": gate(LEADS)})
    world.admission = Admission(identity="new/1 new/1", since=world.now)
    play(world, looks=12)
    assert "s old yet" in world.status["message"]
    wait = decide_job(world.snapshot()).requeue_after
    assert wait is not None
    assert wait <= SETTLING
    later(world, seconds=SETTLING.total_seconds())
    approve(world)
    assert world.status["state"] == "Passed"


def test_the_journal_has_no_room_for_strangers() -> None:
    world = asking(LEADS)
    told = code(world)
    for number in range(100):
        world.annotations[f"{APPROVAL}0{number}"] = f"{told} system:authenticated tina"
    approve(world, nonce="zz", text=f"{told} ml-leads alice")
    assert world.status["state"] == "Passed"
    assert [one["user"] for one in world.status["approvals"]] == ["alice"]


def test_the_operator_may_die_after_any_write_of_an_approval() -> None:
    whole = asking(LEADS)
    whole.annotations[f"{APPROVAL}1"] = f"{code(whole)} ml-leads alice"
    writes = whole.act(decide_job(whole.snapshot()), most=0)
    for count in range(writes + 1):
        world = asking(LEADS)
        world.annotations[f"{APPROVAL}1"] = f"{code(world)} ml-leads alice"
        world.act(decide_job(world.snapshot()), most=count)
        play(world, looks=3)
        assert record(world)["verdict"] == "Passed"
        assert world.status["approvals"][0]["seenAt"] <= record(world)["approvals"][0]["givenAt"]
