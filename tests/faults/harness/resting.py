"""Jobs that rest when a fault comes, and what must become of them: seen again in time, and done once.

A resting job is looked at every ten minutes, so that nothing but a watch, or the net under it, can tell of a change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from faults.harness.flows import claims, job
from faults.harness.report import record
from faults.harness.world import World
from serin_operator.api.kinds import FINE_TUNE_JOB
from serin_operator.wakeups import WATCHED

Json = dict[str, Any]
GOAL = 15.0  # seconds from the API's return until everything was seen
JOBS = ("bot-0", "bot-1", "bot-2")
EVERYTHING = {one.kind.plural for one in WATCHED}  # that the operator watches
IDLE = {"prepareRetrySeconds": 3600}  # the operator's settings


def named(name: str, **spec: Any) -> Json:
    return job(gates=[], rollout=None, **spec) | {"metadata": {"name": name}}


def resting(w: World) -> None:
    """Three jobs that have succeeded, and watches that are open."""
    w.apply(*claims(), *(named(name) for name in JOBS))
    w.until(lambda: at_rest(w), "the jobs succeed")
    w.until(lambda: w.proxy.quiet_for() > 2, "the operator rests", free=True)
    w.until(lambda: all_watched(w), "everything is watched", free=True)


def all_watched(w: World) -> bool:
    return set(w.proxy.watches.open()) >= EVERYTHING


def at_rest(w: World) -> bool:
    return all(seen(found) and found["status"]["state"] == "Succeeded" for found in w.items(FINE_TUNE_JOB))


def seen(found: Json) -> bool:
    return found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"]


def edit(w: World, which: Iterable[str] = JOBS) -> None:
    """Each of these jobs is trained anew."""
    for name in which:
        w.edit(FINE_TUNE_JOB, name, {"spec": {"hyperparameters": {"learningRate": f"{w.proxy.now:.3f}e-5"}}})


def until_seen(w: World, what: str, since: float, goal: float = GOAL) -> float:
    """Seconds from `since` (on the proxy's clock) until every job was looked at since its last edit."""
    w.until(lambda: all(seen(found) for found in w.items(FINE_TUNE_JOB)), f"{what} is seen\n{w.timeline()}", goal + 30)
    took = max(0.0, w.proxy.now - since)
    print(f"{what}: seen again after {took:.1f} s")
    return took


def stages_run(w: World) -> Counter[str]:
    """How often each of its Jobs was created, from the audit log."""
    events = w.plane.audit.settled(w.namespace, w.api)
    return Counter(
        event["objectRef"]["name"] if event["objectRef"].get("name") else event["responseObject"]["metadata"]["name"]
        for event in events
        if event["verb"] == "create"
        and event["objectRef"]["resource"] == "jobs"
        and event["responseStatus"]["code"] == 201
    )


def end_well(w: World, edits: int, more: int = 0) -> int:
    """All is done, once. `more` Jobs are wanted than the edits lead to. The number of violations, told."""
    w.until(lambda: at_rest(w), f"the edited jobs succeed\n{w.timeline()}", 90)
    made = stages_run(w)
    wanted = len(JOBS) * (3 + 2 * edits)  # the data is prepared once; each learning rate is trained and consolidated
    wanted += more
    wrong = [f"{name} was created {times} times" for name, times in made.items() if times != 1]
    if len(made) != wanted:
        wrong.append(f"{len(made)} Jobs instead of {wanted}: {sorted(made)}")
    assert not wrong, "\n".join([*wrong, w.timeline()])
    return len(wrong)


def judged(fault: str, w: World, took: float, edits: int = 1, more: int = 0) -> None:
    violations = end_well(w, edits, more)
    record(fault, len(JOBS) * edits, violations + (took > GOAL), took)
    assert took <= GOAL, w.timeline()
