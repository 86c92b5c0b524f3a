"""Story 3: a model with good scores that misbehaves under traffic is taken back, and stays out."""

import time
from collections.abc import Iterator

import pytest
from e2e.bench import jobs_by_stage, numbers_in
from serin_demo import plan
from serin_demo.kube import Object, condition
from serin_demo.shares import failures
from serin_demo.stories import Player, Record
from serin_demo.watching import Watch
from serin_demo.weights import weights_of


def test_the_gate_passes_it(citizen: Record) -> None:
    assert condition(citizen.job, "GatePassed")["status"] == "True"


def test_it_is_rolled_back_at_the_first_step(citizen: Record) -> None:
    assert citizen.outcome == "RolledBack"
    assert [weight.percent for weight in citizen.weights if weight.percent] == [10]
    assert citizen.weights[-1].percent == 0
    assert citizen.revision["status"]["rollout"]["rejection"]["step"] == 1


def test_the_incumbent_serves_everything_again(citizen: Record) -> None:
    assert citizen.service["status"]["stable"]["revision"] == citizen.incumbent
    assert {one["revision"] for one in citizen.requests[-5:]} == {citizen.incumbent}


def test_its_answers_ran_to_the_limit(citizen: Record) -> None:
    """The reason is real: the client itself saw it."""
    own = [one for one in citizen.requests if one["revision"] == citizen.revision_name]
    others = [one for one in citizen.requests if one["revision"] == citizen.incumbent]
    assert own
    # Most of them, as the SLO asks for the median: a bad model stops now and then, and a good one runs on.
    assert sum(one["finish"] == "length" for one in own) > 0.5 * len(own)
    assert sum(one["finish"] == "stop" for one in others) > 0.5 * len(others)


def test_the_sentence_names_the_slo_and_its_numbers(citizen: Record) -> None:
    message = citizen.revision["status"]["rollout"]["rejection"]["message"]
    assert "tokens-per-answer" in message or "latency-p95" in message
    assert len(numbers_in(message)) >= 2


def test_the_time_from_the_first_breaching_scrape_to_weight_zero_is_known(citizen: Record) -> None:
    assert citizen.breach is not None
    assert citizen.seconds_to_weight_zero is not None
    assert 0 <= citizen.seconds_to_weight_zero < 30


def test_no_request_failed(citizen: Record) -> None:
    assert failures(citizen.requests) == []


@pytest.fixture(scope="module")
def again(player: Player, citizen: Record) -> Iterator[tuple[Object, Watch, Watch]]:
    with Watch(player.kubectl, "jobs.batch") as jobs, Watch(player.kubectl, "httproutes") as routes:
        job = player.apply_again(plan.CITIZEN)
        time.sleep(5)
        yield job, jobs, routes


def test_applied_again_it_stays_rejected(again: tuple[Object, Watch, Watch], citizen: Record) -> None:
    job, _, _ = again
    assert job["status"]["state"] == "RolledBack"
    assert condition(job, "Promoted")["status"] == "False"
    assert job["status"]["revision"] == citizen.revision_name


def test_applied_again_it_is_not_trained_again(again: tuple[Object, Watch, Watch], citizen: Record) -> None:
    job, jobs, _ = again
    old = {uid for uids in jobs_by_stage(citizen.histories["jobs.batch"], "never-stops").values() for uid in uids}
    new = {stage: uids - old for stage, uids in jobs_by_stage(jobs.history, "never-stops").items()}
    assert not new.get("train")
    assert not new.get("consolidate")
    assert condition(job, "Trained")["reason"] == "Reused"


def test_applied_again_it_gets_no_traffic(again: tuple[Object, Watch, Watch], citizen: Record) -> None:
    _, _, routes = again
    assert {weight.percent for weight in weights_of(routes.history, plan.SERVICE, citizen.revision_name)} == {0}
