"""Progress as rank 0 tells it."""

import pytest
from serin_operator.http import httpx
from serin_operator.observe.training import parse, progress

TEXT = """# TYPE serin_train_step gauge
serin_train_step 50
# TYPE serin_train_total_steps gauge
serin_train_total_steps 200
# TYPE serin_train_loss gauge
serin_train_loss 2.3456
# TYPE serin_train_eta_seconds gauge
serin_train_eta_seconds 41.7
# TYPE serin_train_tokens_per_second gauge
serin_train_tokens_per_second NaN
"""


def test_numbers_become_progress() -> None:
    found = parse(TEXT)
    assert found is not None
    assert (found.step, found.total_steps, found.percent, found.eta_seconds) == (50, 200, 25, 41)
    assert (found.train_loss, found.eval_loss, found.tokens_per_second) == ("2.346", None, None)


def test_a_training_that_has_not_begun_has_no_progress() -> None:
    assert parse("") is None


@pytest.mark.parametrize("answer", [httpx.Response(503), httpx.ConnectError("refused"), httpx.ReadTimeout("slow")])
async def test_a_pod_that_does_not_answer_has_no_progress(answer: httpx.Response | Exception) -> None:
    def answers(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with httpx.AsyncClient(transport=httpx.MockTransport(answers)) as client:
        assert await progress(client, "10.0.0.1") is None
