"""What the server tells Prometheus, under vLLM's names (docs.vllm.ai, "Production metrics").

So one SLO query works for this server and for vLLM. Not here: when something is observed (`engine.py`, `app.py`).
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serin_server import shapes
from serin_server.languages import LANGUAGES, language


def _geometric(low: float, high: float, factor: float) -> tuple[float, ...]:
    """Buckets whose bounds grow by a factor, so that a quantile is off by at most that factor."""
    bounds = [low]
    while bounds[-1] < high:
        bounds.append(float(f"{bounds[-1] * factor:.3g}"))
    return tuple(bounds)


_REQUEST_SECONDS = _geometric(0.01, 60.0, 1.2)
_TOKEN_SECONDS = _geometric(0.001, 2.0, 1.25)
_LABELS = ("model_name", "engine")
_ENGINE = "0"
"""vLLM numbers the engines of a server; this one has one."""
_TOKENS = tuple(range(1, 9)) + tuple(sorted({step << up for up in range(8) for step in (5, 6, 7, 8)} - set(range(9))))


class Metrics:
    """All metrics of one server, in a registry of its own."""

    def __init__(self, model_name: str, revision: str) -> None:
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
        self.inference_time = self._histogram("request_inference_time_seconds", "First step to last token.", seconds)
        self.prefill_time = self._histogram("request_prefill_time_seconds", "First step to first token.", seconds)
        self.decode_time = self._histogram("request_decode_time_seconds", "First token to last token.", seconds)
        self.prompt_tokens_of_request = self._histogram("request_prompt_tokens", "Tokens of a prompt.", _TOKENS)
        self.generation_tokens_of_request = self._histogram(
            "request_generation_tokens", "Tokens of an answer.", _TOKENS
        )
        self.running = self._gauge("num_requests_running", "Requests being answered.")
        self.waiting = self._gauge("num_requests_waiting", "Requests in the queue.")
        self.cache_usage = self._gauge(
            "kv_cache_usage_perc", "Places of the key-value cache, as a share (1 is all) of the most it may ever have."
        )
        self._counter("num_preemptions", "Requests that had to give up their place: never, here.")
        self.prompt_tokens = self._counter("prompt_tokens", "Tokens of all prompts.")
        self.generation_tokens = self._counter("generation_tokens", "Tokens of all answers.")
        self._success = Counter(
            "vllm:request_success",
            "Requests that ended, by the reason they ended.",
            ["model_name", "engine", "finished_reason"],
            registry=self.registry,
        )
        self._http = Counter("http_requests", "HTTP requests.", ["handler", "method", "status"], registry=self.registry)
        for reason in ("stop", "length", "abort"):
            self._success.labels(model_name, _ENGINE, reason)
        # Not `revision`: that is the label of the pod that was told, which need not be the one that answered.
        self._thumbs = Counter(
            "serin_feedback_thumbs",
            "Thumbs of users, by the revision that gave the answer.",
            ["answered_by", "thumbs"],
            registry=self.registry,
        )
        self._tasks = Counter(
            "serin_feedback_tasks",
            "Tasks of users that an answer completed or not, by the revision that gave it.",
            ["answered_by", "outcome"],
            registry=self.registry,
        )
        self._open_feedback(revision)
        self._prompt_characters = Histogram(
            "serin_prompt_characters",
            "Characters that a client sent.",
            buckets=shapes.CHARACTERS,
            registry=self.registry,
        )
        self._answer_characters = Histogram(
            "serin_answer_characters", "Characters of an answer.", buckets=shapes.CHARACTERS, registry=self.registry
        )
        self._answers = Counter("serin_answers", "Whole answers, by their form.", ["kind"], registry=self.registry)
        for kind in shapes.KINDS:
            self._answers.labels(kind)
        self._prompt_languages = self._by_language("serin_prompt_languages", "Prompts of whole answers, by language.")
        self._answer_languages = self._by_language("serin_answer_languages", "Whole answers, by language.")

    def success(self, reason: str) -> None:
        """A request ended by `stop`, `length`, or `abort` (its client went away)."""
        self._success.labels(self._model_name, _ENGINE, reason).inc()

    def http(self, handler: str, method: str, status: int) -> None:
        """An HTTP request was answered; the status is told by its class, such as 2xx, as vLLM tells it."""
        self._http.labels(handler, method, f"{status // 100}xx").inc()

    def answered(self, prompt: str, answer: str) -> None:
        """What was asked and answered, by its looks: what drift is told by."""
        self._prompt_characters.observe(len(prompt))
        self._answer_characters.observe(len(answer))
        self._answers.labels(shapes.kind(answer)).inc()
        self._prompt_languages.labels(language(prompt)).inc()
        self._answer_languages.labels(language(answer)).inc()

    def thumbs(self, revision: str, thumbs: str) -> None:
        """A user's thumb for an answer of that revision: `up` or `down`."""
        self._open_feedback(revision)
        self._thumbs.labels(revision, thumbs).inc()

    def task(self, revision: str, outcome: str) -> None:
        """What became of a user's task: `success` or `failure`."""
        self._open_feedback(revision)
        self._tasks.labels(revision, outcome).inc()

    def _open_feedback(self, revision: str) -> None:
        """All series of a revision at once, from 0: an increase from nothing is one that Prometheus does not see."""
        for thumbs in ("up", "down"):
            self._thumbs.labels(revision, thumbs)
        for outcome in ("success", "failure"):
            self._tasks.labels(revision, outcome)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
        made = Histogram(f"vllm:{name}", about, _LABELS, buckets=buckets, registry=self.registry)
        return made.labels(self._model_name, _ENGINE)

    def _by_language(self, name: str, text: str) -> Counter:
        found = Counter(name, text, ["language"], registry=self.registry)
        for one in LANGUAGES:
            found.labels(one)
        return found

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(f"vllm:{name}", about, _LABELS, registry=self.registry).labels(self._model_name, _ENGINE)

    def _counter(self, name: str, about: str) -> Counter:
        return Counter(f"vllm:{name}", about, _LABELS, registry=self.registry).labels(self._model_name, _ENGINE)
