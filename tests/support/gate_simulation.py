"""Gates by the thousand: drawn examples of models whose truth is known, the evaluator's own statistics over them, and
the operator's own judgement. Only the drawing is made up.

The truth of every requirement lies exactly on its margin unless it is moved: there a gate is wrong most often.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from serin_evaluator import curves
from serin_evaluator.uncertainty import EXPONENTIAL, LINEAR, resamples, studentised
from serin_operator.api.contract import EvaluateOutput
from serin_operator.api.v1alpha1 import EvalGate, Verdict
from serin_operator.decide.job.demands import Demand, demands
from serin_operator.decide.job.gates import judge

Array = NDArray[np.float64]
EXAMPLES = 100
RESAMPLES = 1000
BOUND = 0.4  # the true RougeL of a model that is not better
METRICS = ("RougeL", "Perplexity", "ExactMatch")
GATE = EvalGate.model_validate(
    {
        "metadata": {"name": "promises"},
        "spec": {
            "suites": [{"name": "s", "dataset": {"uri": "pvc://d/x.jsonl"}, "metrics": [*METRICS, "TokenAccuracy"]}],
            "requirements": [
                *({"name": m.lower(), "metric": f"s/{m}", "comparedTo": "Base", "maxRegression": "0"} for m in METRICS),
                {"name": "bound", "metric": "s/RougeL", "min": str(BOUND)},
            ],
        },
    }
)
DEMANDS = demands([GATE], [])


@dataclass(frozen=True)
class Shares:
    """How often gates came out as Passed and as Failed, and how often at least one requirement alone would fail."""

    passed: float
    failed: float
    failed_without_correction: float


def simulate(worlds: int, seed: int, better: Mapping[str, float]) -> Shares:
    """Judge that many gates; `better` moves the truth of requirements, by name, to the good side of their margins."""
    random = np.random.default_rng(seed)
    found = [judged for start in range(0, worlds, 200) for judged in _judged(random, min(200, worlds - start), better)]
    whole = [verdict for verdict, _ in found]
    return Shares(
        whole.count(Verdict.PASSED) / worlds,
        whole.count(Verdict.FAILED) / worlds,
        sum(alone for _, alone in found) / worlds,
    )


def _judged(random: np.random.Generator, worlds: int, better: Mapping[str, float]) -> Iterator[tuple[Verdict, bool]]:
    for measured in _measured(random, worlds, better):
        alone = any(_verdict((demand,), measured) is Verdict.FAILED for demand in DEMANDS)
        yield _verdict(DEMANDS, measured), alone


def _verdict(asked: tuple[Demand, ...], measured: EvaluateOutput) -> Verdict:
    return judge(asked, measured, first_deployment=False).verdict


def _measured(random: np.random.Generator, worlds: int, better: Mapping[str, float]) -> Iterator[EvaluateOutput]:
    shape = (worlds, EXAMPLES)
    (counts,) = resamples(EXAMPLES, (int(random.integers(2**31)),), RESAMPLES)
    rouge = _rouge(random, shape), _rouge(random, shape)
    same = random.random(shape) < 0.3  # both models say the same
    differences = np.where(same, 0.0, rouge[0] - rouge[1]) + better.get("rougel", 0.0)
    bound = rouge[0] + better.get("bound", 0.0)
    ones = np.ones(shape)
    tokens = 1.0 + random.poisson(20, shape)
    hardness = random.gamma(4, 0.5, shape)
    losses = [tokens * hardness * random.lognormal(0, 0.3, shape) for _ in range(2)]
    losses[0] = losses[0] - tokens * better.get("perplexity", 0.0)
    known = random.random(shape) < 0.6
    # Of the examples that not both get right, each model gets its own ones right, equally often.
    lucky = random.random(shape)
    wins = (~known & (lucky < 0.2 + better.get("exactmatch", 0.0))).sum(-1)
    losses_ = (~known & (lucky > 0.8 + better.get("exactmatch", 0.0) / 2)).sum(-1)
    rows: list[list[dict[str, Any]]] = [
        _rows("RougeL", "PairedBootstrap", [(differences, ones)], [LINEAR], counts),
        _rows("Perplexity", "PairedBootstrap", [(losses[0], tokens), (losses[1], tokens)], [EXPONENTIAL] * 2, counts),
        [_paired(int(w), int(x)) for w, x in zip(wins, losses_, strict=True)],
    ]
    scores = _rows("RougeL", "", [(bound, ones)], [LINEAR], counts)
    for world in range(worlds):
        yield EvaluateOutput.model_validate(
            {
                "reportUri": "pvc://r",
                "scores": [scores[world] | {"role": "Candidate", "value": scores[world]["difference"]}],
                "comparisons": [of[world] for of in rows],
            }
        )


def _rouge(random: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Many answers that share nothing with the right one, the others anywhere; 0.4 on average."""
    return random.beta(1.0, 1.0, shape) * (random.random(shape) < 0.8)


def _rows(metric: str, method: str, columns: Any, transforms: Any, counts: Array) -> list[dict[str, Any]]:
    value, stderr, resampled = studentised(columns, transforms, counts)
    curve = curves.of_resamples(value, stderr, resampled, EXAMPLES)
    return [
        _row(metric, method, float(v), float(e), tuple(c))
        for v, e, c in zip(value, stderr, curve.tolist(), strict=True)
    ]


@cache
def _paired(wins: int, losses: int) -> dict[str, Any]:
    value = (wins - losses) / EXAMPLES
    stderr = float(np.sqrt(((wins + losses) / EXAMPLES - value * value) / EXAMPLES))
    curve = curves.of_paired_shares(wins, losses, EXAMPLES).tolist()
    return _row("ExactMatch", "McNemar", value, stderr, tuple(curve))


def _row(metric: str, method: str, value: float, stderr: float, curve: tuple[float, ...]) -> dict[str, Any]:
    return {
        "suite": "s", "metric": metric, "against": "Base", "method": method, "difference": value, "n": EXAMPLES,
        "stderr": stderr, "curve": curve,
    }  # fmt: skip
