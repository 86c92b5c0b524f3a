"""Which measurements of which model are needed, kept or still to be made; and the making.

A model is fetched, verified and loaded only when something of it was not kept before. Not here: metrics.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serin_evaluator.cache import Entry, ScoreCache, benchmark_version, evaluator_version
from serin_evaluator.config import OF_CHOICES, OF_CLASSIFIERS, OF_SPEED, PAIRWISE, Base, Metric, Model
from serin_evaluator.fewshot import asked
from serin_evaluator.manifest import verify, verify_base
from serin_evaluator.measured import Choice, Flag, Generation, Likelihood, Speed
from serin_evaluator.metrics import FROM_GENERATION, FROM_LIKELIHOOD
from serin_evaluator.pairs import Pairs
from serin_evaluator.progress import BOARD, Progress
from serin_evaluator.share import ALL, Share
from serin_evaluator.suites import LoadedSuite
from serin_evaluator.uris import model_path

log = logging.getLogger(__name__)


@dataclass
class Measured:
    """What one model gave on one suite; None where no metric needs it."""

    likelihood: Entry[Likelihood] | None = None
    generation: Entry[Generation] | None = None
    choice: Entry[Choice] | None = None
    speed: Entry[Speed] | None = None
    flags: dict[str, Entry[Flag]] = field(default_factory=dict)
    """What each of the suite's classifiers says of the answers, by its name."""
    pairs: dict[Metric, Pairs] = field(default_factory=dict)
    """Of the candidate: how its answers were preferred to another model's."""
    values: dict[Metric, dict[int, Any]] | None = None
    """Of a benchmark: what lm-evaluation-harness says of each example; None until it was asked."""


@dataclass(frozen=True)
class Task:
    """One kind of measurement of one model on one suite."""

    model: Model
    suite: LoadedSuite
    kind: type[Any]
    seed: int

    @property
    def what(self) -> str:
        """Its name in the log."""
        return f"role={self.model.role} suite={self.suite.suite.name} kind={self.kind.__name__}"

    def identity(self) -> dict[str, Any]:
        """All that the numbers depend on."""
        device = device_of_pod()
        suite = self.suite.suite
        if self.suite.benchmark is not None:
            return {
                "kind": f"Benchmark{self.kind.__name__}",
                "model": self.model.digest,
                "evaluator": benchmark_version(),
                "device": device,
                "tasks": self.suite.digest,
                "prompts": [task.prompts_digest for task in self.suite.benchmark.tasks],
                "applyChatTemplate": self.suite.benchmark.apply_chat_template,
            }
        examples: dict[str, Any] = {"dataset": self.suite.digest, "maxExamples": suite.max_examples, "seed": self.seed}
        if not suite.needs_answers:
            # The same file then has more rows to ask, and what was measured on fewer is another measurement.
            examples["withoutAnswer"] = True
        if suite.few_shot is not None:
            shots = {"dataset": self.suite.shots_digest, "lines": [shot.line for shot in self.suite.shots]}
            examples["fewShot"] = {**shots, "separator": suite.few_shot.separator}
        common = {"model": self.model.digest, "evaluator": evaluator_version(), "device": device, **examples}
        if self.kind is Likelihood:
            return {"kind": "Likelihood", **common}
        if self.kind is Choice:
            assert suite.choices is not None
            return {"kind": "Choice", "choices": suite.choices.model_dump(mode="json"), **common}
        return {"kind": "Generation", "maxNewTokens": suite.max_new_tokens, "stop": suite.stop, **common}


def measure(model: Model, suites: Sequence[LoadedSuite], cache: ScoreCache, seed: int) -> dict[str, Measured]:
    """All that the suites' metrics need to know of the model, by suite name."""
    found = {suite.suite.name: Measured() for suite in suites}
    missing: list[Task] = []
    for task in _tasks(model, suites, seed):
        entry = _kept_before(task, cache)
        if entry is None:
            missing.append(task)
        else:
            log.info("%s was measured before", task.what)
            _keep(found, task, entry)
    for task in missing:
        BOARD.tell(task.what, 0, len(task.suite.examples))
    if missing:
        for task, entry in measure_tasks(model, missing, cache):
            _keep(found, task, entry)
    return found


def pending(model: Model, suites: Sequence[LoadedSuite], cache: ScoreCache, seed: int) -> list[Task]:
    """What is to be measured of the model yet."""
    return [task for task in _tasks(model, suites, seed) if _kept_before(task, cache) is None]


def _tasks(model: Model, suites: Sequence[LoadedSuite], seed: int) -> list[Task]:
    return [Task(model, suite, kind, seed) for suite in suites for kind in _kinds(suite)]


def _kept_before(task: Task, cache: ScoreCache) -> Entry[Any] | None:
    """Times are this machine's and of this hour: they are never kept."""
    return cache.get(task.identity(), task.kind) if task.kind is not Speed else None


def measure_tasks(
    model: Model, tasks: Sequence[Task], cache: ScoreCache, share: Share = ALL
) -> list[tuple[Task, Entry[Any]]]:
    """Load the model and measure. Of a share the rows are left where the other pods find them, and are no whole entry."""
    folder = _verified(model)
    base = _verified(model.base) if model.base is not None else None
    if model.base is not None:
        verify_base(folder, model.base.digest, model.uri)
    from serin_evaluator.loading import load  # torch takes seconds to import: only when there is something to measure

    loaded = load(folder, device_of_pod(), model.uri, base)
    found: list[tuple[Task, Entry[Any]]] = []
    for task in tasks:
        parts = cache.parts(task.identity(), task.kind, share) if task.kind is not Speed else None
        if parts is not None and parts.known:
            log.info("%s goes on with %d that were measured before, or by others", task.what, len(parts.known))
        entry = _run(loaded, task, parts, share)
        if parts is not None and share != ALL:
            parts.hand_over(entry.too_long)
        elif parts is not None:
            cache.put(task.identity(), entry)
            parts.done()
        found.append((task, entry))
    return found


def _verified(model: Model | Base) -> Path:
    """The folder of a model whose files are the ones that were asked for."""
    folder = model_path(model.uri)
    log.info("verifying %s", model.uri)
    verify(folder, model.digest, model.uri)
    return folder


def _run(loaded: Any, task: Task, parts: Any, share: Share) -> Entry[Any]:
    suite = task.suite.suite
    examples = asked(task.suite)
    progress = Progress(task.what, share.about(len(examples)), board=BOARD)
    if task.suite.benchmark is not None:
        entry = loaded.benchmarked(task.suite.benchmark, task.kind, progress, parts)
    elif task.kind is Choice:
        entry = loaded.choices(examples, progress, parts)
    elif task.kind is Likelihood:
        entry = loaded.likelihoods(examples, progress, parts)
    elif task.kind is Speed:
        entry = loaded.speeds(examples, suite.stop, suite.max_new_tokens, progress)
    else:
        entry = loaded.generations(examples, suite.stop, suite.max_new_tokens, progress, parts)
    progress.ended(len(entry.measured))
    return entry


def _kinds(suite: LoadedSuite) -> list[type[Any]]:
    """What is to be measured of a model."""
    if suite.benchmark is not None:
        return suite.benchmark.kinds
    wanted = set(suite.suite.metrics)
    kinds: list[type[Any]] = []
    if wanted & FROM_LIKELIHOOD:
        kinds.append(Likelihood)
    if wanted & (FROM_GENERATION | OF_CLASSIFIERS | PAIRWISE):
        kinds.append(Generation)
    if wanted & OF_CHOICES:
        kinds.append(Choice)
    if wanted & OF_SPEED:
        kinds.append(Speed)
    return kinds


def _keep(found: dict[str, Measured], task: Task, entry: Entry[Any]) -> None:
    measured = found[task.suite.suite.name]
    if task.kind is Likelihood:
        measured.likelihood = entry
    elif task.kind is Choice:
        measured.choice = entry
    elif task.kind is Speed:
        measured.speed = entry
    else:
        measured.generation = entry


def device_of_pod() -> str:
    """`cuda` when the pod was given such a device, found without importing torch."""
    return "cuda" if Path("/dev/nvidia0").exists() else "cpu"
