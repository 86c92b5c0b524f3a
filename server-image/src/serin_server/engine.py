"""The engine: a thread that answers queued requests together, and tells each what it is given.

Between two steps, requests that ended or were abandoned leave the batch, and waiting ones join it. The queue is
bounded: what cannot be answered soon is refused at once. Not here: HTTP (`app.py`) and tensors (`batch.py`).
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from serin_server.errors import Broken, Busy
from serin_server.metrics import Metrics
from serin_server.text import TextStream

log = logging.getLogger(__name__)


class Rows(Protocol):
    """What the engine needs of a batch."""

    def __len__(self) -> int: ...
    def admit(self, prompts: Sequence[Sequence[int]], samplers: Sequence[Any]) -> list[int]: ...
    def step(self) -> list[int]: ...
    def keep(self, rows: Sequence[int]) -> None: ...
    def clear(self) -> None: ...
    def held(self) -> int: ...


@dataclass(frozen=True)
class Piece:
    """More text of an answer."""

    text: str


@dataclass(frozen=True)
class End:
    """The answer is whole. `finish_reason` is `stop`, `length` or `abort`."""

    finish_reason: str
    completion_tokens: int


Event = Piece | End | Broken


@dataclass
class Request:
    """One request on its way through the engine; `tell` is called from the engine's thread."""

    prompt: Sequence[int]
    sampler: Any
    most_tokens: int
    text: TextStream
    tell: Callable[[Event], None]
    arrived: float = field(default_factory=time.perf_counter)
    joined_at: float = 0.0
    abandoned: bool = False
    tokens: int = 0
    first_token_at: float = 0.0
    last_token_at: float = 0.0
    finish: str = ""

    def abandon(self) -> None:
        """Nobody waits for the answer any more."""
        self.abandoned = True


class Engine:
    """Queue, batch and the thread that moves requests from one to the other."""

    def __init__(
        self,
        batch: Rows,
        end_tokens: frozenset[int],
        metrics: Metrics,
        max_queue: int,
        context: int,
        max_running: int = 16,
    ) -> None:
        self._batch = batch
        self._end_tokens = end_tokens
        self._metrics = metrics
        metrics.cache_usage.set_function(lambda: batch.held() / (max_running * context))
        self._max_queue = max_queue
        self._max_running = max_running
        self._changed = threading.Condition()
        self._waiting: deque[Request] = deque()
        self._running: list[Request] = []
        self._stopping = False
        self._seconds_of_answer = 1.0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; requests still there are told that they are broken off."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def submit(self, request: Request) -> None:
        """Queue the request, or raise Busy when the queue is full. Those who can join at the next step do not queue."""
        with self._changed:
            room = self._max_running - len(self._running)
            if len(self._waiting) >= self._max_queue + room:
                rounds = (len(self._waiting) + len(self._running)) / self._max_running
                raise Busy(max(1, min(60, round(rounds * self._seconds_of_answer))))
            self._waiting.append(request)
            self._metrics.waiting.set(len(self._waiting))
            self._changed.notify()

    def _run(self) -> None:
        while self._wait_for_work():
            try:
                self._admit()
                if self._running:
                    self._take(self._batch.step(), self._running)
                    self._let_leave()
            except Exception:
                log.exception("a step failed; %d requests are broken off", len(self._running))
                self._break_off()
        self._break_off()

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._waiting or self._running)
            return not self._stopping

    def _admit(self) -> None:
        """Let waiting requests join while there is room; each gets its first token."""
        with self._changed:
            room = self._max_running - len(self._running)
            joining = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
            wanted = [request for request in joining if not request.abandoned]
            self._running = [*self._running, *wanted]
            self._metrics.waiting.set(len(self._waiting))
            self._metrics.running.set(len(self._running))
        for request in joining:
            if request.abandoned:
                self._end(request, "abort")
        if not wanted:
            return
        now = time.perf_counter()
        for request in wanted:
            request.joined_at = now
            self._metrics.queue_time.observe(now - request.arrived)
            self._metrics.prompt_tokens.inc(len(request.prompt))
        first = self._batch.admit([request.prompt for request in wanted], [request.sampler for request in wanted])
        self._take(first, wanted)
        self._let_leave()

    def _take(self, tokens: Sequence[int], requests: Sequence[Request]) -> None:
        now = time.perf_counter()
        self._metrics.generation_tokens.inc(len(tokens))
        for token, request in zip(tokens, requests, strict=True):
            self._clock(request, now)
            request.tokens += 1
            if token in self._end_tokens:
                request.finish = "stop"
                continue
            self._say(request, request.text.push(token))
            if request.text.stopped:
                request.finish = "stop"
            elif request.tokens >= request.most_tokens:
                request.finish = "length"

    def _clock(self, request: Request, now: float) -> None:
        if request.tokens:
            self._metrics.inter_token_latency.observe(now - request.last_token_at)
        else:
            request.first_token_at = now
            self._metrics.time_to_first_token.observe(now - request.arrived)
        request.last_token_at = now

    def _let_leave(self) -> None:
        """Requests that ended or were abandoned leave the batch."""
        staying = [row for row, request in enumerate(self._running) if not (request.finish or request.abandoned)]
        if len(staying) == len(self._running):
            return
        leaving = [request for request in self._running if request.finish or request.abandoned]
        self._batch.keep(staying)
        self._running = [self._running[row] for row in staying]
        self._metrics.running.set(len(self._running))
        for request in leaving:
            self._end(request, request.finish or "abort")

    def _end(self, request: Request, reason: str) -> None:
        self._metrics.success(reason)
        if reason != "abort":
            self._measure(request)
            self._say(request, request.text.flush())
        request.tell(End(reason, request.tokens))

    def _measure(self, request: Request) -> None:
        """What a whole answer adds to the histograms."""
        took = request.last_token_at - request.arrived
        self._seconds_of_answer += 0.1 * (took - self._seconds_of_answer)
        self._metrics.e2e_latency.observe(took)
        self._metrics.prompt_tokens_of_request.observe(len(request.prompt))
        self._metrics.generation_tokens_of_request.observe(request.tokens)
        decoding = request.last_token_at - request.first_token_at
        self._metrics.inference_time.observe(request.last_token_at - request.joined_at)
        self._metrics.prefill_time.observe(request.first_token_at - request.joined_at)
        self._metrics.decode_time.observe(decoding)
        if request.tokens > 1:
            self._metrics.time_per_output_token.observe(decoding / (request.tokens - 1))

    def _say(self, request: Request, text: str) -> None:
        if text:
            request.tell(Piece(text))

    def _break_off(self) -> None:
        broken, self._running = self._running, []
        with self._changed:
            if self._stopping:
                broken = [*broken, *self._waiting]
                self._waiting.clear()
            self._metrics.waiting.set(len(self._waiting))
        self._batch.clear()
        self._metrics.running.set(0)
        for request in broken:
            request.tell(Broken("The answer was broken off.", code="broken_off"))
