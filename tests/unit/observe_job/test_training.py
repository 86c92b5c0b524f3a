"""Progress as rank 0 tells it."""

import asyncio
import math
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


def gauges(**values: object) -> str:
    return TEXT + "".join(
        f"# TYPE serin_train_{name} gauge\nserin_train_{name} {value}\n" for name, value in values.items()
    )


def of_curve(*values: float) -> str:
    lines = "".join(f'serin_train_loss_curve{{part="{part:02}"}} {value}\n' for part, value in enumerate(values))
    return TEXT + "# TYPE serin_train_loss_curve gauge\n" + lines


def test_what_people_watch_a_training_by_is_told() -> None:
    found = parse(
        gauges(perplexity=10.43, eval_perplexity=1234.5, learning_rate=2e-05, gradient_norm=0.98765)
        + gauges(gpu_busy=0.874, gpu_memory_used_bytes=30e9, gpu_memory_bytes=80e9)
    )
    assert found is not None
    assert (found.train_perplexity, found.eval_perplexity) == ("10.4", "1.23e+03")
    assert (found.learning_rate, found.gradient_norm) == ("2e-05", "0.988")
    assert (found.gpu_percent, found.gpu_memory_percent) == (87, 38)


def test_without_a_gpu_nothing_is_said_of_one() -> None:
    found = parse(gauges(gpu_busy="NaN", gpu_memory_used_bytes="NaN", gpu_memory_bytes="NaN", learning_rate=0))
    assert found is not None
    assert (found.gpu_percent, found.gpu_memory_percent, found.loss_curve) == (None, None, None)
    assert found.learning_rate == "0"  # that of the last step of a schedule that ends there


@pytest.mark.parametrize(
    ("losses", "bars"),
    [
        pytest.param((6.0, 3.0, 2.0, 1.5, 1.2, 1.0), "█▄▂▂▁▁", id="falls"),
        pytest.param((2.0, 2.0, 2.0), "▁▁▁", id="stays"),
        pytest.param((1.0, math.nan, 9.0), "▁█", id="a part that is no number"),
        pytest.param((1.0,), None, id="one"),
        pytest.param((math.inf, 1e300), None, id="none that can be drawn"),
    ],
)
def test_the_loss_from_the_first_step_on_is_drawn(losses: tuple[float, ...], bars: str | None) -> None:
    found = parse(of_curve(*losses))
    assert found is not None
    assert found.loss_curve == bars


def test_whoever_answers_draws_no_longer_curve_than_a_line_holds() -> None:
    found = parse(of_curve(*(float(n) for n in range(500))))
    assert found is not None
    assert len(found.loss_curve or "") == 32


@pytest.mark.parametrize(("busy", "used", "there"), [(1.5, 1, 0), (-0.1, -5, 10), ("+Inf", 20, 10)])
def test_a_share_that_is_none_is_not_told(busy: object, used: object, there: object) -> None:
    found = parse(gauges(gpu_busy=busy, gpu_memory_used_bytes=used, gpu_memory_bytes=there))
    assert found is not None
    assert (found.gpu_percent, found.gpu_memory_percent) == (None, None)


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
