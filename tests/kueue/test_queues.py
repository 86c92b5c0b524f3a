"""Training in queues of the real Kueue: waiting, places, priorities, and who may write `suspend`."""

from __future__ import annotations

import json
import time

from kueue.team import OPERATOR, QUEUE, SELECTOR, TOLERATION, Json, Team
from support.kueue import USER as KUEUE_USER

LOOKS = 4.0  # seconds; some looks of the operator's


def placed(template: Json) -> bool:
    """Where Kueue's flavor says."""
    tolerations = template["spec"].get("tolerations", [])
    return template["spec"].get("nodeSelector") == SELECTOR and TOLERATION in tolerations


def assert_never_written_by_us(team: Team, job: str, deleted: bool = False) -> None:
    """After its creation nobody but Kueue (and the Job controller, which the log leaves out) writes a queued Job."""
    writes = team.writes(job)
    ours = [verb for user, verb in writes if user == OPERATOR]
    assert ours == (["create", "delete"] if deleted else ["create"]), writes
    assert KUEUE_USER in {user for user, _ in writes}, writes


def owner_of_suspend(job: Json) -> set[str]:
    """Who wrote `spec.suspend` last, as the apiserver keeps it."""
    return {
        entry["manager"]
        for entry in job["metadata"]["managedFields"]
        if "f:suspend" in entry["fieldsV1"].get("f:spec", {})
    }


def counts(team: Team, name: str) -> tuple[int, int]:
    entry = team.entry(name)
    return entry.get("restarts", 0), entry.get("interruptions", 0)


def test_the_second_job_waits_until_the_first_is_done_and_both_run_where_kueue_says(team: Team) -> None:
    team.train("first")
    team.until_state("first", "Training")
    first = team.job("first")
    assert placed(first["spec"]["template"])
    assert all(placed(pod) for pod in team.pods("first"))

    team.train("second")
    team.until_state("second", "Queued")
    second = team.job("second")
    assert second["spec"]["suspend"] is True
    assert team.status("second")["message"] == (
        f"Train waits for quota in queue {QUEUE}; what Kueue says of it: kubectl describe job {second['metadata']['name']}"
    )
    assert team.condition("second", "Suspended")["reason"] == "ByQueue"
    team.until(lambda: "insufficient unused quota" in team.kueue_says("second", "QuotaReserved").get("message", ""))
    time.sleep(LOOKS)
    assert (team.status("second")["state"], team.pods("second")) == ("Queued", [])
    assert placed(team.job("first")["spec"]["template"])  # several looks later: it is not drift

    team.finish("first")
    team.until_state("first", "Succeeded")
    team.until_state("second", "Training")
    assert placed(team.job("second")["spec"]["template"])
    team.finish("second")
    team.until_state("second", "Succeeded")
    for name, job in (("first", first), ("second", second)):
        assert_never_written_by_us(team, job["metadata"]["name"])
        assert owner_of_suspend(team.job(name)) == {"kueue"}
        assert (team.entry(name)["attempt"], counts(team, name)) == (1, (0, 0))


def test_a_job_of_higher_priority_takes_the_place_and_the_first_goes_on_once_it_is_admitted_again(team: Team) -> None:
    team.train("low", priority="research-low")
    team.until_state("low", "Training")
    team.until(lambda: {pod["status"].get("phase") for pod in team.pods("low")} == {"Running"})
    job = team.job("low")["metadata"]["name"]
    saved = len(team.kubelet.saved)

    team.train("high", priority="production-high")
    team.until_state("high", "Training")
    team.until(lambda: team.status("low")["state"] == "Queued")
    team.until(lambda: len(team.kubelet.saved) == saved + 2)  # both pods had their time to save
    team.until(lambda: team.pods("low") == [])
    assert team.entry("low")["reason"] == team.condition("low", "Trained")["reason"] == "Preempted"
    assert f"lost its place in queue {QUEUE}" in team.status("low")["message"]
    assert team.kueue_says("low", "Preempted")["status"] == "True"
    time.sleep(LOOKS)
    assert (team.status("low")["state"], team.pods("low")) == ("Queued", [])

    team.finish("high")
    team.until_state("high", "Succeeded")
    team.until_state("low", "Training")
    assert placed(team.job("low")["spec"]["template"])
    team.finish("low")
    team.until_state("low", "Succeeded")
    assert (team.entry("low")["attempt"], counts(team, "low")) == (1, (0, 0))
    assert_never_written_by_us(team, job)
    assert team.job("low")["metadata"]["name"] == job


def test_a_job_that_its_user_suspends_gives_its_place_back_and_queues_again(team: Team) -> None:
    team.train("mine")
    team.until_state("mine", "Training")
    job = team.job("mine")["metadata"]["name"]
    team.train("other")
    team.until_state("other", "Queued")

    team.edit("mine", suspend=True)
    team.until_state("mine", "Suspended")
    team.until_state("other", "Training")  # the quota is free
    assert team.jobs("mine") == []
    assert_never_written_by_us(team, job, deleted=True)

    team.edit("mine", suspend=False)
    team.until_state("mine", "Queued")
    again = team.job("mine")
    assert again["metadata"]["labels"]["serin.dev/attempt"] == "2"
    team.edit("mine", suspend=True)  # while it waits
    team.until_state("mine", "Suspended")
    team.until(lambda: team.jobs("mine") == [])
    team.edit("mine", suspend=False)
    team.until_state("mine", "Queued")

    team.finish("mine")
    team.finish("other")
    team.until_state("mine", "Succeeded")
    assert (team.entry("mine")["attempt"], counts(team, "mine")) == (3, (0, 0))
    assert owner_of_suspend(team.job("mine")) == {"kueue"}


def test_a_queue_that_does_not_exist_is_waited_for_and_the_right_one_is_taken_at_once(team: Team) -> None:
    team.train("lost", queue="team-z")
    team.until_state("lost", "Queued")
    assert "waits for quota in queue team-z" in team.status("lost")["message"]
    team.until(lambda: "doesn't exist" in json.dumps(team.workload("lost").get("status", {})))
    time.sleep(LOOKS)
    assert team.job("lost")["spec"]["suspend"] is True

    wish = json.loads(team.server.kubectl("-n", team.name, "get", "ftj", "lost", "-o", "json"))["spec"]["distribution"]
    team.edit("lost", distribution=wish | {"queueName": QUEUE})
    team.until_state("lost", "Training")
    team.finish("lost")
    team.until_state("lost", "Succeeded")
    assert (team.entry("lost")["attempt"], counts(team, "lost")) == (2, (0, 0))
