"""The project's own server as the judge of answers: the real suite's questions over a real socket to a real model.

The model says that the first answer is better, whatever it is asked. So it is just the judge that asking twice is for.
"""

from typing import Any

import pytest
from serin_evaluator.cache import ScoreCache
from serin_evaluator.config import Judge, Role
from serin_evaluator.judging import judged, messages
from serin_evaluator.suites import Example
from support.tiny_model import CHAT_TEMPLATE, write_model

QUESTIONS = ("What is a Pod?", "What is a Node?", "What is a Job?")
EXAMPLES = {line: Example(line, question, (), "") for line, question in enumerate(QUESTIONS, start=1)}
ANSWERS = {1: ("Containers that go together.", "No idea."), 2: ("A machine.", "A machine."), 3: ("Work.", "Work.")}


def taught() -> list[str]:
    """What it is asked of the pair that differs, in both orders, and the verdict for the first answer on each."""
    ours, theirs = ANSWERS[1]
    both = [messages("", QUESTIONS[0], "", *of) for of in ((ours, theirs), (theirs, ours))]
    asked = ["".join(f"<|{one['role']}|>{one['content']}<|end|>" for one in said) for said in both]
    return [f"{one}<|assistant|>It says more. [[A]]" for one in asked]


@pytest.fixture(scope="module")
def judge(models: Any, start: Any) -> Any:
    assert "<|assistant|>" in CHAT_TEMPLATE
    folder = models.root / "artifacts" / "judge"
    models.digests["judge"] = write_model(folder, chat=True, context=2048, texts=taught())
    server = start("judge", maxNewTokens=32)
    server.wait_until_healthy()
    return server


def test_our_own_server_judges_pairs_in_both_orders_and_a_verdict_by_place_is_a_tie(judge: Any, tmp_path: Any) -> None:
    asked = Judge(url=f"{judge.url}/v1", model="support-bot", against=Role.BASE, max_tokens=32, timeout_seconds=60)

    found = judged(asked, "heldout", EXAMPLES, ANSWERS, ScoreCache(tmp_path))

    assert (found.pairs, found.same, found.unreadable, found.refused) == (3, 2, 0, 0)
    assert (found.first, found.second) == (2, 0), "it was asked in both orders, and said A each time"
    assert found.reversed == 1
    assert found.worth == {1: 0.5, 2: 0.5, 3: 0.5}
    assert judge.metric("http_requests_total", handler="/v1/chat/completions") == 2
    assert judged(asked, "heldout", EXAMPLES, ANSWERS, ScoreCache(tmp_path)) == found
    assert judge.metric("http_requests_total", handler="/v1/chat/completions") == 2, "what was said is kept"
