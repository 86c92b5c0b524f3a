"""What the server tells Prometheus, under vLLM's names (docs.vllm.ai, "Production metrics").

So one SLO query works for this server and for vLLM. Not here: when something is observed (`engine.py`, `app.py`).
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


def _geometric(low: float, high: float, factor: float) -> tuple[float, ...]:
    """Buckets whose bounds grow by a factor, so that a quantile is off by at most that factor."""
    bounds = [low]
    while bounds[-1] < high:
        bounds.append(float(f"{bounds[-1] * factor:.3g}"))
    return tuple(bounds)


_REQUEST_SECONDS = _geometric(0.01, 60.0, 1.2)
_TOKEN_SECONDS = _geometric(0.001, 2.0, 1.25)
_TOKENS = tuple(range(1, 9)) + tuple(sorted({step << up for up in range(8) for step in (5, 6, 7, 8)} - set(range(9))))


class Metrics:
    """All metrics of one server, in a registry of its own."""

    def __init__(self, model_name: str) -> None:
        self.registry = CollectorRegistry()
        self._model_name = model_name
        seconds, token_seconds = _REQUEST_SECONDS, _TOKEN_SECONDS
        self.time_to_first_token = self._histogram("time_to_first_token_seconds", "Arrival to first token.", seconds)
        self.inter_token_latency = self._histogram("inter_token_latency_seconds", "From token to token.", token_seconds)
        self.time_per_output_token = self._histogram(
            "request_time_per_output_token_seconds", "A request's mean time per token after the first.", token_seconds
        )
        self.e2e_latency = self._histogram("e2e_request_latency_seconds", "Arrival to last token.", seconds)
        self.queue_time = self._histogram("request_queue_time_seconds", "Arrival to the first step.", seconds)
        self.prompt_tokens_of_request = self._histogram("request_prompt_tokens", "Tokens of a prompt.", _TOKENS)
        self.generation_tokens_of_request = self._histogram(
            "request_generation_tokens", "Tokens of an answer.", _TOKENS
        )
        self.running = self._gauge("num_requests_running", "Requests being answered.")
        self.waiting = self._gauge("num_requests_waiting", "Requests in the queue.")
        self.prompt_tokens = self._counter("prompt_tokens", "Tokens of all prompts.")
        self.generation_tokens = self._counter("generation_tokens", "Tokens of all answers.")
        self._success = Counter(
            "vllm:request_success",
            "Requests that ended, by the reason they ended.",
            ["model_name", "finished_reason"],
            registry=self.registry,
        )
        self._http = Counter("http_requests", "HTTP requests.", ["handler", "method", "status"], registry=self.registry)
        for reason in ("stop", "length", "abort"):
            self._success.labels(model_name, reason)

    def success(self, reason: str) -> None:
        """A request ended by `stop`, `length`, or `abort` (its client went away)."""
        self._success.labels(self._model_name, reason).inc()

    def http(self, handler: str, method: str, status: int) -> None:
        """An HTTP request was answered; the status is told by its class, such as 2xx, as vLLM tells it."""
        self._http.labels(handler, method, f"{status // 100}xx").inc()

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
        made = Histogram(f"vllm:{name}", about, ["model_name"], buckets=buckets, registry=self.registry)
        return made.labels(self._model_name)

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(f"vllm:{name}", about, ["model_name"], registry=self.registry).labels(self._model_name)

    def _counter(self, name: str, about: str) -> Counter:
        return Counter(f"vllm:{name}", about, ["model_name"], registry=self.registry).labels(self._model_name)
