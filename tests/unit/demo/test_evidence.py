"""What is concluded from watched routes, from the client's records and from Prometheus' series."""

import math
import random
from typing import Any

import pytest
from serin_demo import plan
from serin_demo.breach import Breach, filled, first_breach, out_of_bounds, scrapes_of, weight_zero_after
from serin_demo.shares import failures, p_value, shares_by_step
from serin_demo.watching import Seen, documents
from serin_demo.weights import Weight, backends_seen, share_of, weights_of


def route(name: str = "api-helper", **weights: int) -> dict[str, Any]:
    backends = [{"name": backend, "weight": weight} for backend, weight in weights.items()]
    return {"metadata": {"name": name}, "spec": {"rules": [{"backendRefs": backends}]}}


def answers(revisions: str, start: float = 100.0, every: float = 1.0, status: int = 200) -> list[dict[str, Any]]:
    return [
        {"at": start + number * every, "status": status, "revision": revision}
        for number, revision in enumerate(revisions)
    ]


def test_a_share_is_a_part_of_all_weights() -> None:
    assert share_of(route(old=90, new=10), "new") == 10
    assert share_of(route(old=1), "new") == 0
    assert share_of({"metadata": {}, "spec": {}}, "new") == 0


def test_weights_over_time_hold_only_changes_of_the_service_s_own_route() -> None:
    history = [
        Seen(1.0, route(old=100)),
        Seen(2.0, route(old=90, new=10)),
        Seen(2.5, route(name="other", new=100)),
        Seen(3.0, route(old=90, new=10)),
        Seen(4.0, route(old=0, new=100)),
    ]
    assert weights_of(history, "api-helper", "new") == [Weight(1.0, 0), Weight(2.0, 10), Weight(4.0, 100)]


def test_a_backend_with_weight_zero_was_not_served() -> None:
    assert backends_seen([Seen(1.0, route(old=100, new=0))]) == {"old"}


def test_documents_that_kubectl_prints_one_after_the_other_are_told_apart() -> None:
    printed = '{\n  "kind": "A"\n}\n{\n  "kind": "List",\n  "items": [\n    {"kind": "B"}\n  ]\n}\n'
    assert [found["kind"] for found in documents(printed.splitlines(keepends=True))] == ["A", "B"]


def test_a_fair_share_matches_and_an_unfair_one_does_not() -> None:
    dice = random.Random(3)
    fair = "".join("n" if dice.random() < 0.5 else "o" for _ in range(60))
    weights = [Weight(0.0, 50)]
    assert shares_by_step(weights, answers(fair), "n", 1000.0)[0].matches
    assert not shares_by_step(weights, answers("o" * 60), "n", 1000.0)[0].matches


@pytest.mark.parametrize("percent", [0, 100])
def test_nothing_and_everything_have_no_tolerance(percent: int) -> None:
    right, wrong = ("o", "n") if percent == 0 else ("n", "o")
    weights = [Weight(0.0, percent)]
    assert shares_by_step(weights, answers(right * 30), "n", 1000.0)[0].matches
    assert not shares_by_step(weights, answers(right * 29 + wrong), "n", 1000.0)[0].matches


def test_answers_while_the_gateway_takes_up_a_weight_are_not_counted() -> None:
    weights = [Weight(100.0, 0), Weight(110.0, 100)]
    late = plan.SETTLE_SECONDS - 1
    requests = answers("o" * 10, start=100.0) + answers("o", start=110.0 + late) + answers("n" * 5, start=114.0)
    assert [share.matches for share in shares_by_step(weights, requests, "n", 200.0)] == [True, True]


def test_the_exact_test_agrees_with_known_values() -> None:
    assert p_value(5, 10, 0.5) == pytest.approx(1.0)
    assert p_value(0, 10, 0.5) == pytest.approx(2 / 1024)
    assert p_value(0, 30, 0.1) == pytest.approx(0.0424 + 0.0258, abs=0.03)


def test_whatever_is_not_an_answer_is_a_failure() -> None:
    assert len(failures(answers("a") + answers("b", status=503) + answers("c", status=0))) == 2


@pytest.mark.parametrize(
    ("bounds", "value", "wrong"),
    [
        ({"max": "5"}, 6.0, True),
        ({"max": "5"}, 5.0, False),
        ({"min": "0.9"}, 0.5, True),
        ({"max": "5"}, math.nan, False),
    ],
)
def test_a_value_is_out_of_bounds_and_nan_is_no_value(bounds: dict[str, str], value: float, wrong: bool) -> None:
    assert out_of_bounds(bounds, value) is wrong


def test_the_earliest_scrape_that_breaks_any_slo_counts() -> None:
    slos = [{"name": "a", "query": "a{{revision}}", "max": "1"}, {"name": "b", "query": "b{{revision}}", "max": "1"}]
    values = {("ax", 9.0): "2", ("bx", 4.0): "3"}

    def ask(query: str, at: float) -> list[dict[str, Any]]:
        return [{"value": [at, values.get((query, at), "NaN")]}]

    breach = first_breach({"spec": {"slos": slos}}, {"revision": "x"}, [9.0, 2.0, 4.0], ask)
    assert breach == Breach("b", 4.0, 3.0)


def test_scrapes_are_the_moments_of_up() -> None:
    asked: list[str] = []

    def ask(query: str, at: float) -> list[dict[str, Any]]:
        asked.append(query)
        return [{"values": [[8.0, "1"], [10.5, "1"], [12.5, "1"]]}, {"values": [[12.5, "1"]]}]

    words = {"namespace": "n", "service": "s", "revision": "r"}
    assert scrapes_of(words, 10.0, 20.0, ask) == [10.5, 12.5]
    assert asked == ['up{namespace="n",service="s",revision="r"}[11s]']


def test_a_query_is_filled_in() -> None:
    assert filled('a{r="{{revision}}",s="{{stable}}"}', {"revision": "x", "stable": "y"}) == 'a{r="x",s="y"}'


def test_the_weight_falls_to_nothing_after_the_breach_not_before_the_canary() -> None:
    weights = [Weight(0.0, 0), Weight(10.0, 10), Weight(31.5, 0)]
    assert weight_zero_after(weights, 20.0) == 31.5
    assert weight_zero_after(weights, 40.0) is None
