"""What classifiers and phrases say of answers becomes shares; the worst for the model decides, and nothing is guessed."""

import json
from pathlib import Path
from typing import Any

import pytest
from serin_evaluator.cache import Entry
from serin_evaluator.classifying import classified_sample
from serin_evaluator.config import EvaluateConfig, Metric, Suite
from serin_evaluator.errors import DataError
from serin_evaluator.measured import Flag, Generation, Speed
from serin_evaluator.measuring import Measured
from serin_evaluator.metrics import speed_sample, unit
from serin_evaluator.refusals import LOOKED_AT, PHRASES, refuses
from serin_evaluator.suites import load_suite
from serin_evaluator.uncertainty import estimate
from support.evaluation import config_document, suite_document

CLASSIFIER = {
    "name": "toxic", "metric": "Toxicity", "uri": "pvc://models/toxic", "digest": "sha256:" + "c" * 64,
    "label": "toxic", "threshold": "0.5",
}  # fmt: skip


def suite(*metrics: str, classifiers: Any = (), **more: Any) -> Suite:
    return Suite.model_validate(suite_document(metrics=list(metrics), classifiers=list(classifiers), **more))


def said(texts: list[str], **flags: list[float | None]) -> Measured:
    measured = Measured(generation=Entry({at: Generation(text, 3, "stop") for at, text in enumerate(texts)}, ()))
    for name, of in flags.items():
        known = {at: Flag(probability) for at, probability in enumerate(of) if probability is not None}
        measured.flags[name] = Entry(known, tuple(at for at, one in enumerate(of) if one is None))
    return measured


def share(metric: Metric, of: Suite, measured: Measured) -> tuple[float, int]:
    sample = classified_sample(metric, of, measured)
    return sample.value(), len(sample)


def test_the_share_above_the_threshold_is_counted_with_exact_limits() -> None:
    toxic = suite("Toxicity", classifiers=[CLASSIFIER])
    sample = classified_sample(Metric.TOXICITY, toxic, said(["a"] * 10, toxic=[0.9, 0.5, 0.49, *[0.1] * 7]))

    made = estimate(sample, (7,))
    assert (made.value, made.n) == (0.2, 10)
    assert (made.low, made.high) == (
        pytest.approx(0.0252, abs=1e-4),
        pytest.approx(0.5561, abs=1e-4),
    )  # Clopper-Pearson


def test_of_several_classifiers_the_worst_for_the_model_decides() -> None:
    two = [CLASSIFIER, {**CLASSIFIER, "name": "rude", "threshold": "0.8"}]
    toxic = suite("Toxicity", classifiers=two)
    entails = suite(
        "Faithfulness", classifiers=[{**one, "metric": "Faithfulness"} for one in two], contextField="context"
    )
    flags: dict[str, list[float | None]] = {"toxic": [0.6, 0.1, 0.6, 0.1], "rude": [0.9, 0.9, 0.7, 0.7]}

    assert share(Metric.TOXICITY, toxic, said(["a"] * 4, **flags)) == (0.75, 4)
    assert share(Metric.FAITHFULNESS, entails, said(["a"] * 4, **flags)) == (0.25, 4)


def test_an_answer_that_a_classifier_could_not_read_is_not_scored() -> None:
    toxic = suite("Toxicity", classifiers=[CLASSIFIER])

    assert share(Metric.TOXICITY, toxic, said(["a"] * 3, toxic=[0.9, None, 0.1])) == (0.5, 2)


def test_refusals_go_by_phrases_and_each_metric_by_its_own_side() -> None:
    measured = said(["I’m sorry, but  I cannot help.", "Sure, here it is.", "I can't assist with that.", "Yes."])
    every = suite("Refusal", "OverRefusal", "JailbreakSuccess")

    assert [share(metric, every, measured)[0] for metric in (Metric.REFUSAL, Metric.OVER_REFUSAL)] == [0.5, 0.5]
    assert share(Metric.JAILBREAK_SUCCESS, every, measured) == (0.5, 4)
    own = suite("Refusal", refusalPhrases=["here it is"])
    assert share(Metric.REFUSAL, own, measured) == (0.25, 4)


def test_a_classifier_of_refusals_stands_before_the_phrases() -> None:
    one = {**CLASSIFIER, "name": "refuses", "metric": "JailbreakSuccess", "label": "refusal"}
    asked = suite("JailbreakSuccess", classifiers=[one])

    assert share(Metric.JAILBREAK_SUCCESS, asked, said(["I cannot help", "Sure"], refuses=[0.1, 0.9])) == (0.5, 2)
    two = suite("JailbreakSuccess", classifiers=[one, {**one, "name": "again"}])
    both = said(["a", "b"], refuses=[0.9, 0.9], again=[0.9, 0.1])
    assert share(Metric.JAILBREAK_SUCCESS, two, both) == (0.5, 2)


@pytest.mark.parametrize("phrase", PHRASES)
def test_every_phrase_is_found(phrase: str) -> None:
    assert refuses(f"Well. {phrase.upper()} this.")


def test_words_late_in_an_answer_are_no_refusal() -> None:
    assert not refuses("x" * LOOKED_AT + "I cannot help")
    assert not refuses("")


def rows(folder: Path, *found: Any) -> None:
    (folder / "datasets").mkdir()
    (folder / "datasets" / "heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))


def test_rows_without_an_answer_are_enough_where_nothing_reads_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERIN_PVC_ROOT", str(tmp_path))
    rows(
        tmp_path, {"prompt": "a"}, {"prompt": "b", "completion": "c"}, {"messages": [{"role": "user", "content": "d"}]}
    )

    assert len(load_suite(suite("Refusal"), 7).examples) == 3
    assert len(load_suite(suite("Refusal", "ExactMatch"), 7).examples) == 1


def test_a_row_without_a_context_is_refused_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERIN_PVC_ROOT", str(tmp_path))
    rows(tmp_path, {"prompt": "a", "context": "c"}, {"prompt": "b", "context": " "})
    entails = suite("Faithfulness", classifiers=[{**CLASSIFIER, "metric": "Faithfulness"}], contextField="context")

    with pytest.raises(DataError, match=r"heldout\.jsonl:2: context is no text that an answer could follow from"):
        load_suite(entails, 7)


@pytest.mark.parametrize(
    ("changes", "said_of_it"),
    [
        pytest.param({"metrics": ["Toxicity"]}, "Toxicity needs a classifier", id="no classifier"),
        pytest.param({"metrics": ["RougeL"], "classifiers": [CLASSIFIER]}, "metrics does not list", id="for nothing"),
        pytest.param({"metrics": ["Toxicity"], "classifiers": [CLASSIFIER] * 2}, "two of one name", id="twice"),
        pytest.param({"metrics": ["RougeL"], "contextField": "c"}, "need each other", id="a context for nothing"),
        pytest.param({"metrics": ["JudgeWinRate"]}, "JudgeWinRate and judge need each other", id="no judge"),
        pytest.param({"metrics": ["HumanWinRate"]}, "HumanWinRate and preference", id="no preference"),
        pytest.param(
            {"metrics": ["RougeL"], "classifiers": [{**CLASSIFIER, "metric": "RougeL"}]},
            "classifiers score",
            id="ROUGE",
        ),
    ],
)
def test_a_suite_that_lacks_what_it_reads_is_refused(changes: dict[str, Any], said_of_it: str) -> None:
    with pytest.raises(ValueError, match=said_of_it):
        Suite.model_validate(suite_document(**changes))


def test_a_preference_needs_the_model_that_it_is_against() -> None:
    one = suite_document(metrics=["HumanWinRate"], preference={"against": "Incumbent"})
    with pytest.raises(ValueError, match="models has no Incumbent to be preferred to"):
        EvaluateConfig.model_validate(config_document(suites=[one], comparisons=[], wanted=[]))


SPEEDS = {1: Speed(0.5, 1.0, 11, 2**20), 2: Speed(0.1, 0.0, 1, 3 * 2**20), 3: Speed(0.3, 3.0, 21, 2 * 2**20)}


@pytest.mark.parametrize(
    ("metric", "value", "n"),
    [
        pytest.param(Metric.TIME_TO_FIRST_TOKEN, 0.3, 3, id="the mean of first tokens"),
        pytest.param(Metric.TIME_PER_OUTPUT_TOKEN, 4.0 / 30, 2, id="by tokens after the first"),
        pytest.param(Metric.TOKENS_PER_SECOND, 33 / 4.9, 3, id="all tokens by all seconds"),
        pytest.param(Metric.PEAK_MEMORY, 2.0, 3, id="MiB"),
    ],
)
def test_times_and_memory_become_metrics(metric: Metric, value: float, n: int) -> None:
    sample = speed_sample(metric, SPEEDS)

    assert (sample.value(), len(sample)) == (pytest.approx(value), n)
    assert "evaluator" in unit(metric)
