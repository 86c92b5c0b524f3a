"""What users say is counted once, for the revision that answered, within bounded memory."""

import json
from typing import Any

import pytest
from serin_server.errors import Conflict, NotFound, RequestError
from serin_server.feedback import KEPT_SECONDS, Feedback, FeedbackRequest
from serin_server.metrics import Metrics
from serin_server.openai import parse
from serin_server.receipts import Receipts

NOW = 1_763_780_000.0
KEY = "ab" * 32


class Pod:
    """One pod of a service, with what it tells Prometheus."""

    def __init__(self, revision: str = "bot-1", remembered: int = 100) -> None:
        self.revision = revision
        self.metrics = Metrics("bot", revision)
        self.receipts = Receipts(KEY)
        self.feedback = Feedback(self.receipts, self.metrics, remembered)

    def answer(self, at: float = NOW) -> str:
        return self.receipts.write("chatcmpl", self.revision, at)

    def told(self, id_: str, now: float = NOW, **said: Any) -> dict[str, object]:
        return self.feedback.hear(parse(json.dumps({"id": id_, **said}).encode(), FeedbackRequest), now)

    def count(self, metric: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"serin_feedback_{metric}_total", labels)


def test_a_thumb_and_a_task_are_counted_for_the_revision_that_answered() -> None:
    pod = Pod()
    answer = pod.told(pod.answer(), thumbs="up", task_success=False)
    assert (answer["revision"], answer["counted"]) == ("bot-1", ["task_success", "thumbs"])
    assert pod.count("thumbs", answered_by="bot-1", thumbs="up") == 1
    assert pod.count("thumbs", answered_by="bot-1", thumbs="down") == 0
    assert pod.count("tasks", answered_by="bot-1", outcome="failure") == 1


def test_a_pod_of_another_revision_counts_for_the_one_that_answered() -> None:
    stable, candidate = Pod("bot-1"), Pod("bot-2")
    stable.told(candidate.answer(), thumbs="down")
    assert stable.count("thumbs", answered_by="bot-2", thumbs="down") == 1
    assert stable.count("thumbs", answered_by="bot-2", thumbs="up") == 0  # there from 0, for the share
    assert stable.count("thumbs", answered_by="bot-1", thumbs="down") == 0


def test_the_same_word_again_is_counted_once_and_welcome() -> None:
    pod = Pod()
    id_ = pod.answer()
    assert pod.told(id_, thumbs="up")["counted"] == ["thumbs"]
    assert pod.told(id_, thumbs="up")["counted"] == []
    assert pod.told(id_, thumbs="up", task_success=True)["counted"] == ["task_success"]
    assert pod.count("thumbs", answered_by="bot-1", thumbs="up") == 1
    assert pod.count("tasks", answered_by="bot-1", outcome="success") == 1


def test_another_word_later_is_refused_and_counts_nothing() -> None:
    pod = Pod()
    id_ = pod.answer()
    pod.told(id_, thumbs="up")
    with pytest.raises(Conflict) as caught:
        pod.told(id_, thumbs="down", task_success=True)
    assert (caught.value.status, caught.value.param) == (409, "thumbs")
    assert pod.count("thumbs", answered_by="bot-1", thumbs="down") == 0
    assert pod.count("tasks", answered_by="bot-1", outcome="success") == 0


@pytest.mark.parametrize(
    ("id_", "code"),
    [
        pytest.param("chatcmpl-" + "0" * 32, "unknown_id", id="made up"),
        pytest.param(Receipts("cd" * 32).write("cmpl", "bot-1", NOW), "unknown_id", id="of another service"),
        pytest.param(Receipts(KEY).write("cmpl", "bot-1", NOW - KEPT_SECONDS - 1), "expired_id", id="too old"),
    ],
)
def test_an_unknown_or_old_answer_is_404(id_: str, code: str) -> None:
    with pytest.raises(NotFound) as caught:
        Pod().told(id_, thumbs="up")
    assert (caught.value.status, caught.value.code) == (404, code)


@pytest.mark.parametrize(
    ("said", "param"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param({"thumbs": "sideways"}, "thumbs", id="another thumb"),
        pytest.param({"thumbs": True}, "thumbs", id="a thumb that is a switch"),
        pytest.param({"task_success": "yes"}, "task_success", id="a word for a switch"),
        pytest.param({"task_success": 1}, "task_success", id="a number for a switch"),
        pytest.param({"thumbs": "up", "comment": "nice"}, "comment", id="what nobody would read"),
        pytest.param({"thumbs": "up", "id": 7}, "id", id="a number for an id"),
        pytest.param({"thumbs": "up", "id": "x" * 513}, "id", id="an id that is too long"),
    ],
)
def test_a_malformed_feedback_is_400_and_names_what_is_wrong(said: dict[str, Any], param: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        parse(json.dumps({"id": "x", **said}).encode(), FeedbackRequest)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_nothing_said_is_told_so_in_words() -> None:
    with pytest.raises(RequestError, match="The body is not accepted: give thumbs, task_success, or both"):
        Pod().told("x")


def test_memory_is_bounded_and_the_oldest_is_forgotten_first() -> None:
    pod = Pod(remembered=10)
    ids = [pod.answer() for _ in range(30)]
    for id_ in ids:
        pod.told(id_, thumbs="up")
    assert pod.told(ids[-10], thumbs="up")["counted"] == []
    assert pod.told(ids[0], thumbs="up")["counted"] == ["thumbs"]  # forgotten: said in known-flaws
    assert pod.count("thumbs", answered_by="bot-1", thumbs="up") == 31


def test_own_series_are_there_before_anybody_spoke() -> None:
    pod = Pod()
    assert pod.count("thumbs", answered_by="bot-1", thumbs="up") == 0
    assert pod.count("tasks", answered_by="bot-1", outcome="failure") == 0
