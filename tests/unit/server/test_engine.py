"""The engine answers in batches, keeps its queue bounded, and lets go of abandoned requests. (Rows are fakes here.)"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from serin_server.engine import End, Engine, Event, Piece, Request
from serin_server.errors import Broken, Busy
from serin_server.metrics import Metrics
from serin_server.text import TextStream

END = 0


class CountingRows:
    """Each row counts on from its prompt's last number; `may_step` lets a test hold the steps."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.widest = 0
        self.may_step = threading.Event()
        self.may_step.set()
        self.fail_next = False

    def __len__(self) -> int:
        return len(self.rows)

    def admit(self, prompts: Sequence[Sequence[int]], samplers: Sequence[object]) -> list[int]:
        new = [prompt[-1] + 1 for prompt in prompts]
        self.rows += new
        self.widest = max(self.widest, len(self.rows))
        return new

    def step(self) -> list[int]:
        self.may_step.wait(5)
        if self.fail_next:
            self.fail_next = False
            raise RuntimeError("out of memory")
        self.rows = [row + 1 for row in self.rows]
        return [END if row % 100 == 0 else row for row in self.rows]

    def keep(self, rows: Sequence[int]) -> None:
        self.rows = [self.rows[row] for row in rows]

    def clear(self) -> None:
        self.rows = []

    def held(self) -> int:
        return 3 * len(self.rows)


class Asked(Request):
    """A request with its events in a queue."""

    def __init__(self, start: int, most: int = 5, stop: Sequence[str] = ()) -> None:
        self.events: queue.Queue[Event] = queue.Queue()
        text = TextStream(lambda tokens: "".join(f"{token} " for token in tokens), stop)
        super().__init__([start], None, most, text, self.events.put)

    def answer(self) -> tuple[str, Event]:
        pieces: list[str] = []
        while True:
            event = self.events.get(timeout=60)
            if not isinstance(event, Piece):
                return "".join(pieces), event
            pieces.append(event.text)


@pytest.fixture
def rows() -> CountingRows:
    return CountingRows()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("bot", "bot-1")


@pytest.fixture
def engine(rows: CountingRows, metrics: Metrics) -> Iterator[Engine]:
    made = Engine(rows, frozenset({END}), metrics, max_queue=2, context=6, max_running=2)
    made.start()
    yield made
    rows.may_step.set()
    made.stop()


def value(metrics: Metrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(f"vllm:{name}", {"model_name": "bot", "engine": "0", **labels})
    assert found is not None, name
    return found


def eventually(fact: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_an_answer_ends_at_its_limit(engine: Engine) -> None:
    asked = Asked(10, most=3)
    engine.submit(asked)

    assert asked.answer() == ("11 12 13 ", End("length", 3))


def test_an_answer_ends_at_the_end_token_which_is_counted_but_not_told(engine: Engine) -> None:
    asked = Asked(97, most=50)
    engine.submit(asked)

    assert asked.answer() == ("98 99 ", End("stop", 3))


def test_an_answer_ends_before_a_stop_string(engine: Engine) -> None:
    asked = Asked(10, most=50, stop=["13"])
    engine.submit(asked)

    assert asked.answer() == ("11 12 ", End("stop", 3))


def test_requests_are_answered_together_and_each_gets_its_own(engine: Engine, rows: CountingRows) -> None:
    rows.may_step.clear()
    one, two = Asked(10, most=4), Asked(50, most=2)
    engine.submit(one)
    eventually(lambda: len(rows) == 1)
    engine.submit(two)
    rows.may_step.set()

    assert two.answer()[0] == "51 52 "
    assert one.answer()[0] == "11 12 13 14 "


def test_a_full_queue_refuses_and_says_when_to_come_again(engine: Engine, rows: CountingRows, metrics: Metrics) -> None:
    rows.may_step.clear()
    for start in (10, 20):
        engine.submit(Asked(start))
        eventually(lambda: value(metrics, "num_requests_waiting") == 0 or len(rows) == 1)
    for start in (30, 40):
        engine.submit(Asked(start))

    with pytest.raises(Busy) as caught:
        engine.submit(Asked(50))

    assert int(caught.value.headers["retry-after"]) >= 1


def test_a_burst_that_fits_into_batch_and_queue_is_answered_whole_and_no_more_rows_run_than_allowed(
    engine: Engine, rows: CountingRows
) -> None:
    rows.may_step.clear()
    burst = [Asked(start) for start in (10, 20, 30, 40)]
    for asked in burst:
        engine.submit(asked)
    rows.may_step.set()

    assert [asked.answer()[1] for asked in burst] == [End("length", 5)] * 4
    assert rows.widest == 2


def test_an_abandoned_request_leaves_at_the_next_step(engine: Engine, rows: CountingRows, metrics: Metrics) -> None:
    rows.may_step.clear()
    asked = Asked(10, most=1000)
    engine.submit(asked)
    eventually(lambda: len(rows) == 1)
    asked.abandon()
    rows.may_step.set()

    assert asked.answer()[1] == End("abort", 2)
    eventually(lambda: len(rows) == 0)
    assert value(metrics, "request_success_total", finished_reason="abort") == 1


def test_a_failed_step_breaks_off_what_ran_and_nothing_else(engine: Engine, rows: CountingRows) -> None:
    rows.may_step.clear()
    rows.fail_next = True
    asked = Asked(10)
    engine.submit(asked)
    eventually(lambda: len(rows) == 1)
    rows.may_step.set()

    assert isinstance(asked.answer()[1], Broken)
    later = Asked(20)
    engine.submit(later)
    assert later.answer()[1] == End("length", 5)


def test_stopping_tells_everybody(rows: CountingRows, metrics: Metrics) -> None:
    engine = Engine(rows, frozenset({END}), metrics, max_queue=2, context=6, max_running=1)
    rows.may_step.clear()
    engine.start()
    asked = [Asked(10), Asked(20)]
    for one in asked:
        engine.submit(one)
    threading.Timer(0.05, rows.may_step.set).start()
    engine.stop()

    assert all(isinstance(one.answer()[1], Broken) for one in asked)
    assert not engine.alive


def test_every_answer_is_measured_once(engine: Engine, metrics: Metrics) -> None:
    for asked in (Asked(10, most=3), Asked(97, most=50)):
        engine.submit(asked)
        asked.answer()

    eventually(lambda: value(metrics, "num_requests_running") == 0)
    assert value(metrics, "request_success_total", finished_reason="length") == 1
    assert value(metrics, "request_success_total", finished_reason="stop") == 1
    assert value(metrics, "generation_tokens_total") == 6
    assert value(metrics, "prompt_tokens_total") == 2
    assert value(metrics, "time_to_first_token_seconds_count") == 2
    assert value(metrics, "inter_token_latency_seconds_count") == 4
    assert value(metrics, "request_time_per_output_token_seconds_count") == 2
    assert value(metrics, "e2e_request_latency_seconds_count") == 2
    assert value(metrics, "request_queue_time_seconds_count") == 2
    assert value(metrics, "request_inference_time_seconds_count") == 2
    assert value(metrics, "request_prefill_time_seconds_count") == 2
    assert value(metrics, "request_decode_time_seconds_count") == 2
    assert value(metrics, "request_generation_tokens_sum") == 6
    assert value(metrics, "request_prompt_tokens_count") == 2


def test_the_times_of_a_request_add_up(engine: Engine, metrics: Metrics) -> None:
    asked = Asked(10, most=4)
    engine.submit(asked)
    asked.answer()

    def seconds(name: str) -> float:
        return value(metrics, f"{name}_seconds_sum")

    inference = seconds("request_prefill_time") + seconds("request_decode_time")
    assert seconds("request_inference_time") == pytest.approx(inference)
    assert seconds("e2e_request_latency") == pytest.approx(seconds("request_queue_time") + inference)
    assert seconds("time_to_first_token") == pytest.approx(
        seconds("request_queue_time") + seconds("request_prefill_time")
    )


def test_the_caches_usage_is_a_share_of_a_full_batch_of_whole_contexts(
    engine: Engine, rows: CountingRows, metrics: Metrics
) -> None:
    """A row holds 3 places here, and two rows of 6 are the most."""
    rows.may_step.clear()
    engine.submit(Asked(10))
    eventually(lambda: value(metrics, "kv_cache_usage_perc") == 3 / 12)
    rows.may_step.set()
    eventually(lambda: value(metrics, "kv_cache_usage_perc") == 0)
