"""Which measurements of which model are needed, kept or still to be made; and the making.

A model is fetched, verified and loaded only when something of it was not kept before. Not here: metrics.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serin_evaluator.cache import Entry, ScoreCache, evaluator_version
from serin_evaluator.config import OF_CHOICES, Model
from serin_evaluator.manifest import verify
from serin_evaluator.measured import Choice, Generation, Likelihood
from serin_evaluator.metrics import FROM_GENERATION, FROM_LIKELIHOOD
from serin_evaluator.progress import Progress
from serin_evaluator.suites import LoadedSuite
from serin_evaluator.uris import model_path

log = logging.getLogger(__name__)


@dataclass
class Measured:
    """What one model gave on one suite; None where no metric needs it."""

    likelihood: Entry[Likelihood] | None = None
    generation: Entry[Generation] | None = None
    choice: Entry[Choice] | None = None


@dataclass(frozen=True)
class _Task:
    """One kind of measurement of one model on one suite."""

    model: Model
    suite: LoadedSuite
    kind: type[Any]
    seed: int

    def identity(self, device: str) -> dict[str, Any]:
        """All that the numbers depend on."""
        suite = self.suite.suite
        examples = {"dataset": self.suite.digest, "maxExamples": suite.max_examples, "seed": self.seed}
        common = {"model": self.model.digest, "evaluator": evaluator_version(), "device": device, **examples}
        if self.kind is Likelihood:
            return {"kind": "Likelihood", **common}
        if self.kind is Choice:
            assert suite.choices is not None
            return {"kind": "Choice", "choices": suite.choices.model_dump(mode="json"), **common}
        return {"kind": "Generation", "maxNewTokens": suite.max_new_tokens, "stop": suite.stop, **common}


def measure(model: Model, suites: Sequence[LoadedSuite], cache: ScoreCache, seed: int) -> dict[str, Measured]:
    """All that the suites' metrics need to know of the model, by suite name."""
    device = _device()
    found = {suite.suite.name: Measured() for suite in suites}
    missing: list[_Task] = []
    entry: Entry[Any] | None
    for task in (_Task(model, suite, kind, seed) for suite in suites for kind in _kinds(suite)):
        entry = cache.get(task.identity(device), task.kind)
        if entry is None:
            missing.append(task)
        else:
            log.info("role=%s suite=%s kind=%s was measured before", model.role, task.suite.suite.name, _name(task))
            _keep(found, task, entry)
    if missing:
        _measure_missing(model, missing, found, cache, device)
    return found


def _measure_missing(
    model: Model, tasks: Sequence[_Task], found: dict[str, Measured], cache: ScoreCache, device: str
) -> None:
    folder = model_path(model.uri)
    log.info("role=%s verifying %s", model.role, model.uri)
    verify(folder, model.digest, model.uri)
    from serin_evaluator.loading import load  # torch takes seconds to import: only when there is something to measure

    loaded = load(folder, device, model.uri)
    for task in tasks:
        identity = task.identity(device)
        parts = cache.parts(identity, Generation if task.kind is Generation else Likelihood)
        if parts.known:
            log.info("role=%s suite=%s going on with %d that were measured before the pod ended", model.role,
                     task.suite.suite.name, len(parts.known))  # fmt: skip
        entry = _run(loaded, task, parts)
        cache.put(identity, entry)
        parts.done()
        _keep(found, task, entry)


def _run(loaded: Any, task: _Task, parts: Any) -> Entry[Any]:
    suite = task.suite.suite
    examples = task.suite.examples
    total = sum(len(one.choices) for one in examples.values()) if task.kind is Choice else len(examples)
    progress = Progress(f"role={task.model.role} suite={suite.name} kind={_name(task)}", total)
    if task.kind is Choice:
        return loaded.choices(examples, progress, parts)
    if task.kind is Likelihood:
        return loaded.likelihoods(task.suite.examples, progress, parts)
    return loaded.generations(task.suite.examples, suite.stop, suite.max_new_tokens, progress, parts)


def _kinds(suite: LoadedSuite) -> list[type[Any]]:
    """Likelihood, Generation, Choice or several."""
    wanted = set(suite.suite.metrics)
    kinds: list[type[Any]] = []
    if wanted & FROM_LIKELIHOOD:
        kinds.append(Likelihood)
    if wanted & FROM_GENERATION:
        kinds.append(Generation)
    if wanted & OF_CHOICES:
        kinds.append(Choice)
    return kinds


def _keep(found: dict[str, Measured], task: _Task, entry: Entry[Any]) -> None:
    measured = found[task.suite.suite.name]
    if task.kind is Likelihood:
        measured.likelihood = entry
    elif task.kind is Choice:
        measured.choice = entry
    else:
        measured.generation = entry


def _name(task: _Task) -> str:
    return task.kind.__name__


def _device() -> str:
    """`cuda` when the pod was given such a device, found without importing torch."""
    return "cuda" if Path("/dev/nvidia0").exists() else "cpu"
