"""Progress as rank 0 tells it."""

import asyncio
import time
from collections.abc import AsyncIterator

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


def test_warnings_come_with_their_sentence_and_nothing_that_could_break_a_terminal() -> None:
    odd = 'serin_train_warning{reason="Odd\x1b[31m one",message="a\\nb\x1b[2J  c"} 1\n'
    many = "".join(f'serin_train_warning{{reason="R{n}",message="m"}} 1\n' for n in range(9))
    found = parse(TEXT + 'serin_train_warning{reason="LossExploded",message="9.1 at step 40"} 1\n' + odd + many)
    assert found is not None
    assert [(one.reason, one.message) for one in found.warnings][:2] == [
        ("LossExploded", "9.1 at step 40"),
        ("Odd31mone", "ab[2J c"),
    ]
    assert len(found.warnings) == 4


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


class Endless(httpx.AsyncByteStream):
    """A pod that talks for ever: `pause` seconds between two pieces."""

    def __init__(self, piece: bytes, pause: float) -> None:
        self._piece, self._pause = piece, pause

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield self._piece
            await asyncio.sleep(self._pause)


@pytest.mark.parametrize(
    ("piece", "pause"),
    [pytest.param(b"#" * 8192, 0, id="much"), pytest.param(b"# slow\n", 0.1, id="slowly")],
)
async def test_a_pod_that_talks_for_ever_keeps_nobody(piece: bytes, pause: float) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Endless(piece, pause)))
    async with httpx.AsyncClient(transport=transport) as client:
        began = time.monotonic()
        assert await progress(client, "10.0.0.1") is None
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "body",
    [b"\xff\xfe", b"serin_train_step{ 5", b"serin_train_total_steps +Inf\n", b"serin_train_total_steps NaN\n",
     b"serin_train_total_steps 1e300\n", b"serin_train_total_steps -4\n"],
)  # fmt: skip
async def test_what_is_no_progress_is_none(body: bytes) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body))
    async with httpx.AsyncClient(transport=transport) as client:
        assert await progress(client, "10.0.0.1") is None


async def test_a_redirect_is_not_followed() -> None:
    asked: list[str] = []

    def answers(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(302, headers={"Location": "http://169.254.169.254/latest/meta-data"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answers), follow_redirects=True) as client:
        assert await progress(client, "10.0.0.1") is None
    assert len(asked) == 1
