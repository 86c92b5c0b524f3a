"""What a prompt and an answer look like, told by their form alone."""

import pytest
from prometheus_client.parser import text_string_to_metric_families
from serin_server import shapes
from serin_server.languages import LANGUAGES, language
from serin_server.metrics import Metrics
from serin_server.openai import ChatRequest, CompletionRequest

LOOP = "the pods are the pods and " * 6


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param("The number of desired pods.", "plain", id="an answer"),
        pytest.param("", "empty", id="nothing"),
        pytest.param(" \n\t", "empty", id="white space"),
        pytest.param("I'm sorry, but I can't help with that.", "refused", id="an apology"),
        pytest.param("I’m sorry, I cannot.", "refused", id="with a typographer's apostrophe"),
        pytest.param("As an AI language model, I have no opinion.", "refused", id="as an AI"),
        pytest.param("Es tut mir leid, dabei helfe ich nicht.", "refused", id="in German"),
        pytest.param("I can notice three pods.", "plain", id="a word that begins like one of refusal"),
        pytest.param("word " * 60 + "I'm sorry", "repetitive", id="an apology at the end is no refusal"),
        pytest.param(LOOP, "repetitive", id="in circles"),
        pytest.param("no no no no no", "plain", id="too short to be a circle"),
        pytest.param(" ".join(f"step {n} is to check pod {n}" for n in range(9)), "plain", id="a list"),
        pytest.param("I'm sorry. " + LOOP, "refused", id="a refusal in circles is a refusal"),
    ],
)
def test_the_kind_of_an_answer(answer: str, kind: str) -> None:
    assert shapes.kind(answer) == kind


@pytest.mark.parametrize(("length", "bucket"), [(0, 0), (16, 0), (17, 1), (32, 1), (16384, 10), (16385, 11)])
def test_a_length_on_a_bound_is_below_it_as_prometheus_counts(length: int, bucket: int) -> None:
    text = "x" * length
    assert shapes.bucket(text) == bucket
    metrics = Metrics("bot", "bot-1")
    metrics.answered(text, text)
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        if family.name in ("serin_prompt_characters", "serin_answer_characters"):
            counts = [sample.value for sample in family.samples if sample.name.endswith("_bucket")]
            assert counts == [float(at >= bucket) for at in range(12)]


def test_every_kind_is_told_from_the_start_and_counted() -> None:
    metrics = Metrics("bot", "bot-1")

    def count(kind: str) -> float | None:
        return metrics.registry.get_sample_value("serin_answers_total", {"kind": kind})

    assert [count(kind) for kind in shapes.KINDS] == [0, 0, 0, 0]
    metrics.answered("Why?", "I cannot say.")
    assert count("refused") == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("How many replicas does the deployment want?", "en", id="English"),
        pytest.param("Wie viele Kopien davon soll es geben, und wo wird das eingestellt?", "de", id="German"),
        pytest.param("この配置にはいくつのレプリカが必要ですか。それはどこで設定しますか。", "ja", id="Japanese"),
        pytest.param("Kuinka monta kopiota käyttöönotto tarvitsee, ja missä se asetetaan?", "other", id="Finnish"),
        pytest.param("42, 17 and 9", "unknown", id="too few letters"),
        pytest.param("xqz " * 40, "unknown", id="no language"),
        pytest.param("", "unknown", id="nothing"),
        pytest.param("How many replicas does it want? " * 2000, "en", id="long: its beginning is looked at"),
    ],
)
def test_the_language_of_a_text(text: str, found: str) -> None:
    assert language(text) == found


def test_every_language_is_told_from_the_start_and_counted_for_prompt_and_answer() -> None:
    metrics = Metrics("bot", "bot-1")

    def count(what: str, one: str) -> float | None:
        return metrics.registry.get_sample_value(f"serin_{what}_languages_total", {"language": one})

    assert {count(what, one) for what in ("prompt", "answer") for one in LANGUAGES} == {0}
    metrics.answered(
        "Wie viele Kopien davon soll es geben, und wo wird das eingestellt?", "It wants three replicas of the pod."
    )
    assert (count("prompt", "de"), count("answer", "en")) == (1, 1)


def test_what_a_client_sent_has_no_template_around_it() -> None:
    said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert ChatRequest.model_validate({"model": "m", "messages": said}).sent() == "Be kind.Hi"
    assert CompletionRequest.model_validate({"model": "m", "prompt": ["Hi"]}).sent() == "Hi"
