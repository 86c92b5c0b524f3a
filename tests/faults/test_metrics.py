"""R10: a Prometheus in every bad form. R11: breaches at the worst moments. The real operator on a real apiserver.

What holds for every form and every moment is played by the thousand in tests/unit/decide_service; here are clocks, HTTP,
process death and conflicts as they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from faults.harness import report
from faults.harness.actors import Actors
from faults.harness.flows import BAD, GOOD, A, B, rollout, service, weights
from faults.harness.injections import KillAfter
from faults.harness.options import Options
from faults.harness.oracles import safety
from faults.harness.plane import Plane
from faults.harness.world import World, passed_revision
from faults.prometheus import BAD_FORMS, Answer, value
from serin_operator.api.kinds import MODEL_SERVICE

Json = dict[str, Any]
TIMEOUT, POLL = 8, 1  # seconds without a value until a candidate is withdrawn, and between two looks
GIVEN_IN_ANY_CASE = 1  # seconds that a look waits for an answer when it is time to act
ROOM = 3  # for a machine on which other tests run: a full one was 0.6 s late, and slow to look
FORMS: dict[str, Answer | None] = {**BAD_FORMS, "a refused connection": None}
RESTART = 5.0  # seconds after the operator runs again; 2.6 at most was measured on a full machine
CROWDED = 5  # seconds more where these are told beside all other tests of a machine, of which nothing is known


def crowded(options: Options) -> int:
    """`make test` is to fail for a fault, wherever it runs; the whole sweep holds the figures themselves."""
    return 0 if options.full else CROWDED


@contextmanager
def a_canary(plane: Plane, actors: Actors, **canary: Any) -> Iterator[World]:
    """A has all traffic, B has its first share and was measured well for a moment."""
    steps = [{"weightPercent": 10, "holdSeconds": 3600}, {"weightPercent": 100, "holdSeconds": 1}]
    spec = {"steps": steps, "blindness": {"timeoutSeconds": TIMEOUT, "action": "Withdraw"}, **canary}
    with World(plane, actors) as w:
        w.measures(A, GOOD)
        w.measures(B, GOOD)
        w.apply(service(**spec), passed_revision("a"))
        w.until(lambda: weights(w) == {A: 100}, "the first model serves")
        w.apply(passed_revision("b"))
        w.until(lambda: candidate(w).get("watchedSeconds", 0) >= 1 or stable(w) == B, "the candidate is watched")
        yield w


def candidate(w: World) -> Json:
    return w.status(MODEL_SERVICE, "bot").get("candidate") or {}


def stable(w: World) -> str:
    return (w.status(MODEL_SERVICE, "bot").get("stable") or {}).get("revision", "")


def unsafe(w: World) -> list[str]:
    return [str(found) for found in safety(w.plane.audit.settled(w.namespace, w.api))]


def seconds_until(w: World, fact: Callable[[], object], what: str, at_most: float = 60) -> float:
    began = time.monotonic()
    w.until(fact, what, at_most)
    return time.monotonic() - began


# --- R10 ----------------------------------------------------------------------------------------------------------


def blind(plane: Plane, actors: Actors, form: str) -> tuple[float, list[str]]:
    """Seconds from the first bad answer to weight 0, and what was wrong."""
    with a_canary(plane, actors) as w:
        answer = FORMS[form]
        if answer is None:
            w.prometheus.refuses()
        else:
            w.prometheus.says(answer, metric="length")
        took = seconds_until(w, lambda: weights(w) == {A: 100}, f"withdrawn, with {form}")
        wrong = unsafe(w)
        if "rejection" in rollout(w, B):
            wrong.append(f"{form} rejected a model that nobody knows to be bad")
        time.sleep(2 * POLL)
        if weights(w) != {A: 100} or stable(w) != A:
            wrong.append(f"with {form} the candidate went on")
        return took, wrong


def test_blindness_is_acted_on_in_time_in_every_bad_form_and_nothing_goes_on(
    plane: Plane, actors: Actors, options: Options
) -> None:
    """In a part of the sweep: in some of them, which `--seed` picks."""
    forms = list(FORMS) if options.full else Random(options.seed).sample(list(FORMS), 5)
    with ThreadPoolExecutor(5) as pool:
        told = dict(zip(forms, pool.map(lambda form: blind(plane, actors, form), forms), strict=True))
    wrong = [text for _, texts in told.values() for text in texts]
    for form, (took, _) in told.items():
        slow = GIVEN_IN_ANY_CASE if form == "30 s late" else 0
        if took > TIMEOUT + POLL + slow + ROOM + crowded(options):
            wrong.append(f"{form}: withdrawn after {took:.1f} s")
    worst = max(took for took, _ in told.values())
    report.record("R10 Prometheus in a bad form: withdrawn", len(told), len(wrong), worst)
    print(", ".join(f"{form} {took:.1f} s" for form, (took, _) in told.items()))
    assert not wrong, "\n".join(wrong)


def test_nothing_is_promoted_while_prometheus_says_nothing_and_the_canary_goes_on_by_itself_afterwards(
    plane: Plane, actors: Actors
) -> None:
    """At the last step, with its hold over in a moment; the candidate is held."""
    steps = [{"weightPercent": 50, "holdSeconds": 1}, {"weightPercent": 100, "holdSeconds": 4}]
    with a_canary(plane, actors, steps=steps, blindness={"timeoutSeconds": 5, "action": "Hold"}) as w:
        w.until(lambda: weights(w) == {B: 100}, "the last step")
        w.prometheus.refuses()
        was = stable(w)
        time.sleep(15)
        promoted = was == A and stable(w) == B
        w.prometheus.listens()
        took = seconds_until(w, lambda: stable(w) == B, "promoted")
        wrong = [*unsafe(w), *(["promoted without fresh data"] if promoted else [])]
        report.record("R10 Prometheus away at the last step: held", 1, len(wrong), took)
        assert not wrong, "\n".join([*wrong, w.timeline()])


# --- R11 ----------------------------------------------------------------------------------------------------------


def breach_while_the_operator_is_dead(w: World) -> float:
    w.operator.kill()
    w.measures(B, BAD)
    time.sleep(3)
    w.operator.start()
    return seconds_until(w, lambda: weights(w) == {A: 100}, "weight 0 after the restart")


def breach_during_a_promotion(w: World) -> float:
    """Its last step is over, it is the stable, and dies in the moment after."""
    short = [{"weightPercent": 10, "holdSeconds": 1}, {"weightPercent": 100, "holdSeconds": 1}]
    w.edit(MODEL_SERVICE, "bot", {"spec": {"canary": {"steps": short, "bakeSeconds": 600}}})
    w.until(lambda: stable(w) == B, "promoted")
    w.operator.kill()
    w.measures(B, BAD)
    w.operator.start()
    return seconds_until(w, lambda: weights(w) == {A: 100} and stable(w) == A, "the previous one is back")


def breach_during_another_rollback(w: World) -> float:
    """The operator dies when B is rejected and before its weight moves; its successor, there by then, is bad as well."""
    w.proxy.on_call(
        lambda call: (call.resource, call.name, call.subresource) == ("modelrevisions", B, "status"),
        KillAfter(w.operator, restart=False),
        times=1,
    )
    w.measures(B, BAD)
    w.until(lambda: not w.operator.alive(), "killed", free=True)
    assert "rejection" in rollout(w, B)
    assert weights(w) == {A: 90, B: 10}
    w.apply(passed_revision("c"))
    w.prometheus.says(value(BAD), metric="length")
    w.operator.start()
    took = seconds_until(w, lambda: weights(w) == {A: 100}, "weight 0")
    w.until(lambda: "rejection" in rollout(w, passed_revision("c")["metadata"]["name"]), "the next is rejected")
    w.until(lambda: weights(w) == {A: 100}, "weight 0 again")
    return took


def breach_with_the_stable_unhealthy(w: World) -> float:
    """Held while no pod of the stable answers; then at once."""
    w.behaviour.silent.add(A)
    w.until(lambda: w.status(MODEL_SERVICE, "bot").get("state") == "Degraded", "the stable is silent")
    w.measures(B, BAD)
    w.until(lambda: "rejection" in rollout(w, B), "rejected")
    assert weights(w) == {A: 90, B: 10}
    w.operator.kill()
    w.operator.start()
    time.sleep(2)
    assert weights(w) == {A: 90, B: 10}
    w.behaviour.silent.discard(A)
    return seconds_until(w, lambda: weights(w) == {A: 100}, "weight 0")


MOMENTS: tuple[Callable[[World], float], ...] = (
    breach_while_the_operator_is_dead,
    breach_during_a_promotion,
    breach_during_another_rollback,
    breach_with_the_stable_unhealthy,
)


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.__name__.replace("_", "-"))
def test_a_breach_at_a_bad_moment_ends_with_weight_zero_and_never_at_pods_that_do_not_answer(
    plane: Plane, actors: Actors, options: Options, moment: Callable[[World], float]
) -> None:
    with a_canary(plane, actors) as w:
        took = moment(w)
        wrong = unsafe(w)
        if took > RESTART + crowded(options):
            wrong.append(f"weight 0 after {took:.1f} s")
        report.record("R11 breach at a bad moment: weight 0", 1, len(wrong), took)
        print(f"{moment.__name__}: {took:.1f} s")
        assert not wrong, "\n".join([*wrong, w.timeline()])
