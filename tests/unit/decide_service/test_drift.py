"""Drift: the population stability index with known answers, what chance does, and how it is told."""

import random
from pathlib import Path
from typing import Any

import pytest
import serin_evaluator.languages
import serin_evaluator.shapes
import serin_server.languages
import serin_server.shapes
from serin_operator.api.v1alpha1 import Drift, Verdict
from serin_operator.decide.service import drift
from serin_operator.decide.service.snapshot import Grouped, Reading, ReadingKind
from support.service_world import Json, World, play, with_stable

LENGTHS = [0, 0, 100, 300, 400, 150, 50, 0, 0, 0, 0, 0]
LONGER = [0, 0, 0, 0, 100, 300, 400, 150, 50, 0, 0, 0]
KINDS = [980, 15, 5, 0]


# --- the index ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "found", "psi"),
    [
        pytest.param([50, 50], [50, 50], 0.0, id="the same"),
        pytest.param([5_000_000, 5_000_000], [9_000_000, 1_000_000], 0.8789, id="0.4 ln 1.8 - 0.4 ln 0.2"),
        pytest.param([2_000_000, 8_000_000], [3_000_000, 7_000_000], 0.0539, id="0.1 ln 1.5 - 0.1 ln 0.875"),
        pytest.param([10**7, 10**7, 2 * 10**7], [10**7, 2 * 10**7, 10**7], 0.3466, id="0.25 ln 2 + 0.25 ln 2"),
        pytest.param([0, 7, 0], [0, 9, 0], 0.0, id="all in one bucket"),
        pytest.param([1, 0], [0, 1], 1.0986, id="a half in each empty bucket: ln 3"),
    ],
)
def test_the_index_has_its_known_answers(expected: list[float], found: list[float], psi: float) -> None:
    assert drift.index(expected, found) == pytest.approx(psi, abs=1e-4)
    assert drift.index(found, expected) == pytest.approx(psi, abs=1e-4)  # it has no direction


def test_buckets_in_which_nothing_ever_was_change_nothing() -> None:
    assert drift.index([5, 9, 0, 0], [7, 3, 0, 0]) == drift.index([5, 9], [7, 3])


@pytest.mark.parametrize(
    ("buckets", "quantile"), [(2, 6.635), (3, 9.210), (5, 13.277), (12, 24.725)], ids=["1", "2", "4", "11"]
)
def test_what_chance_does_is_the_quantile_of_chi_squared(buckets: int, quantile: float) -> None:
    row = [100.0] * buckets
    assert drift.by_chance(row, row) == pytest.approx(2 / (100 * buckets) * quantile, rel=0.02)


def test_samples_of_one_population_rarely_exceed_what_chance_does() -> None:
    chance, shares = random.Random(7), [0.05, 0.1, 0.2, 0.3, 0.2, 0.1, 0.05]

    def sample(size: int) -> list[float]:
        drawn = chance.choices(range(7), shares, k=size)
        return [float(drawn.count(bucket)) for bucket in range(7)]

    pairs = [(sample(80), sample(400)) for _ in range(600)]
    above = sum(drift.index(*pair) > drift.by_chance(*pair) for pair in pairs)
    assert above <= 15  # 6 are to be expected
    assert sum(drift.index(*pair) > 0.05 for pair in pairs) > 300  # a fixed bound alone would cry all day


def test_a_real_shift_is_found_in_few_answers() -> None:
    found = [count / 5 for count in LONGER]
    assert drift.index(LENGTHS, found) > max(0.2, drift.by_chance(LENGTHS, found))


# --- one signal ---------------------------------------------------------------------------------------------------


def cumulative(counts: list[int]) -> dict[str, float]:
    edges = [*(f"{edge}" for edge in drift.CHARACTERS), "+Inf"]
    return {edge: float(sum(counts[: at + 1])) for at, edge in enumerate(edges)}


def judged(answer: Any, expected: list[int] = LENGTHS, **wanted: Any) -> Any:
    return drift.judged(Drift(**wanted), drift.SIGNALS[0], expected, answer)


def test_prometheus_cumulative_buckets_are_taken_apart() -> None:
    row = judged(Grouped(cumulative(LENGTHS)))
    assert (row.verdict, row.psi) == (Verdict.PASSED, "0")
    assert row.message == "promptCharacters PSI 0 <= 0.2, 1000 answers beside 1000 examples"


def test_both_ways_of_writing_a_bound_are_known() -> None:
    written = {f"{float(edge)}" if edge != "+Inf" else edge: n for edge, n in cumulative(LONGER).items()}
    assert judged(Grouped(written)) == judged(Grouped(cumulative(LONGER)))
    assert judged(Grouped(written)).verdict is Verdict.FAILED


def test_a_small_evaluation_set_needs_a_larger_index_and_the_sentence_says_why() -> None:
    few = [0, 0, 2, 6, 8, 3, 1, 0, 0, 0, 0, 0]
    answers = Grouped(cumulative([0, 0, 60, 90, 70, 50, 30, 0, 0, 0, 0, 0]))
    row = judged(answers, few, max_psi="0.01")
    assert row.verdict is Verdict.PASSED
    assert "the most that chance does with so few examples" in row.message


@pytest.mark.parametrize(
    ("answer", "expected", "verdict", "says"),
    [
        pytest.param(Grouped(cumulative([1] * 12)), LENGTHS, Verdict.INCONCLUSIVE, "12 of 200 answers", id="too few"),
        pytest.param(Grouped({}), LENGTHS, Verdict.INCONCLUSIVE, "0 of 200 answers", id="nobody asked"),
        pytest.param(Reading(ReadingKind.OUTAGE, text="away"), LENGTHS, Verdict.ERROR, "away", id="no metrics"),
        pytest.param(None, LENGTHS, Verdict.ERROR, "not asked", id="not asked"),
        pytest.param(Grouped(cumulative(LENGTHS)), [1, 2], Verdict.ERROR, "other buckets", id="another release"),
        pytest.param(Grouped(cumulative(LENGTHS)), [0] * 12, Verdict.ERROR, "other buckets", id="an empty set"),
    ],
)
def test_what_cannot_be_compared_is_no_drift(answer: Any, expected: list[int], verdict: Verdict, says: str) -> None:
    row = judged(answer, expected)
    assert (row.verdict, row.psi) == (verdict, None)
    assert says in row.message


# --- in the loop --------------------------------------------------------------------------------------------------


def watched(reference: bool = True, **wanted: Any) -> tuple[World, str]:
    """A stable whose drift is watched every ten seconds."""
    world, name = with_stable()
    seen = {"promptCharacters": LENGTHS, "answerCharacters": LENGTHS, "answerKinds": KINDS}
    world.edit(lambda spec: spec.update(monitoring={"intervalSeconds": 10, "drift": wanted}))
    if reference:
        world.touch("ModelRevision", name, lambda status: status["gate"].update(reference=seen))
    asks(world, LENGTHS, KINDS)
    play(world, 2)
    return world, name


def asks(world: World, prompts: list[int], kinds: list[int]) -> None:
    """What users ask and get from now on."""
    world.sources.grouped = {
        "serin_prompt_characters_bucket": Grouped(cumulative(prompts)),
        "serin_answer_characters_bucket": Grouped(cumulative(LENGTHS)),
        "serin_answers_total": Grouped(dict(zip(drift.KINDS, map(float, kinds), strict=True))),
    }


def test_what_looks_as_it_was_evaluated_is_told_so_with_the_numbers() -> None:
    world, _ = watched()
    play(world, 25)
    assert world.condition("Drifted")["status"] == "False"
    assert "promptCharacters PSI 0 <= 0.2, 1000 answers beside 1000 examples" in world.condition("Drifted")["message"]
    assert {told.about: told.value for told in world.look().told if told.metric == "serin_drift_psi"} == {
        "promptCharacters": 0.0,
        "answerCharacters": 0.0,
        "answerKinds": 0.0,
    }


def test_longer_questions_are_told_once_in_every_way_and_roll_nothing_back() -> None:
    world, name = watched()
    play(world, 15)
    asks(world, LONGER, KINDS)
    play(world, 40)
    condition = world.condition("Drifted")
    assert (condition["status"], condition["reason"]) == ("True", "Drifted")
    assert condition["message"].startswith("promptCharacters PSI ")
    assert "answerKinds" not in condition["message"]
    assert world.events.count("Drifted") == 1
    assert world.weights == {name: 100}
    assert world.condition("SlosHold")["status"] == "True"
    asks(world, LENGTHS, KINDS)
    play(world, 15)
    assert world.condition("Drifted")["status"] == "False"
    assert world.events.count("DriftOver") == 1


def test_refusals_are_drift_too() -> None:
    world, _ = watched()
    asks(world, LENGTHS, [600, 395, 5, 0])
    play(world, 15)
    assert world.condition("Drifted")["message"].startswith("answerKinds PSI ")


def spoken(**counts: int) -> list[int]:
    return [counts.get(one, 0) for one in drift.LANGUAGES]


def asks_in(world: World, **counts: int) -> None:
    found = Grouped({one: float(count) for one, count in zip(drift.LANGUAGES, spoken(**counts), strict=True)})
    world.sources.grouped |= {f"serin_{what}_languages_total": found for what in ("prompt", "answer")}


def test_another_language_is_drift_too() -> None:
    world, name = watched()
    seen = {"promptLanguages": spoken(en=900, unknown=100), "answerLanguages": spoken(en=900, unknown=100)}
    world.touch("ModelRevision", name, lambda status: status["gate"]["reference"].update(seen))
    asks_in(world, en=450, unknown=50)
    play(world, 25)
    assert world.condition("Drifted")["status"] == "False"
    assert "answerLanguages PSI " in world.condition("Drifted")["message"]
    asks_in(world, en=250, de=200, unknown=50)
    play(world, 15)
    assert world.condition("Drifted")["message"].startswith("promptLanguages PSI ")


def test_a_model_that_was_evaluated_before_languages_were_told_is_watched_by_the_rest() -> None:
    world, _ = watched()
    world.sources.queries.clear()
    play(world, 25)
    assert world.condition("Drifted")["status"] == "False"
    assert not [query for query in world.sources.queries if "languages" in query]


def test_silence_neither_begins_a_drift_nor_ends_one() -> None:
    world, _ = watched()
    asks(world, LONGER, KINDS)
    play(world, 15)
    asks(world, [0] * 12, [0] * 4)
    play(world, 30)
    assert world.condition("Drifted")["status"] == "True"
    assert "DriftOver" not in world.events


def test_without_a_wish_or_a_reference_nothing_is_asked() -> None:
    world, _ = watched(reference=False)
    world.sources.queries.clear()
    play(world, 25)
    assert world.condition("Drifted")["reason"] == "NoReference"
    assert not any("serin_" in query for query in world.sources.queries)

    def forget(spec: Json) -> None:
        del spec["monitoring"]["drift"]

    world.edit(forget)
    play(world, 25)
    assert world.condition("Drifted")["reason"] == "NotWanted"
    assert "drift" not in world.status["monitoring"]


def test_the_queries_name_the_stable_and_the_window() -> None:
    world, name = watched(windowSeconds=7200)
    world.sources.queries.clear()
    play(world, 12)
    asked = next(query for query in world.sources.queries if "serin_answers_total" in query)
    assert asked == (
        f'sum by (kind) (increase(serin_answers_total{{namespace="ml",service="bot",revision="{name}"}}[7200s]))'
    )


# --- one way of describing ----------------------------------------------------------------------------------------


def test_operator_server_and_evaluator_count_in_the_same_buckets() -> None:
    assert drift.CHARACTERS == serin_server.shapes.CHARACTERS == serin_evaluator.shapes.CHARACTERS
    assert drift.KINDS == serin_server.shapes.KINDS == serin_evaluator.shapes.KINDS
    assert drift.LANGUAGES == serin_server.languages.LANGUAGES == serin_evaluator.languages.LANGUAGES


def test_server_and_evaluator_describe_by_the_same_code() -> None:
    def code(module: Any) -> str:
        text = Path(module.__file__).read_text("utf-8")
        return text.split('"""', 2)[2]

    assert code(serin_server.shapes) == code(serin_evaluator.shapes)
    assert code(serin_server.languages) == code(serin_evaluator.languages)
