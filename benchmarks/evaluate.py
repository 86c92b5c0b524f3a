"""How fast the evaluator measures, side by side with lm-evaluation-harness' hf backend, and whether both see the same.

    make bench-evaluate        writes build/bench/evaluate.json and prints it

One process, one tiny model, the same texts for both, in turns; each figure is the median of the rounds' requests a second,
ours by theirs, so above 1 ours is faster. Making tokens of the texts counts for both; loading the model only for the gate.

- `multiTokenRatio`: multiple choice, four answers of several tokens after prompts of about a hundred.
- `oneTokenRatio`: the same prompts, four answers of one token each (both need one pass a prompt here).
- `generationRatio`: greedy answers of 32 tokens; none ends earlier, so that leaving rows out gains us nothing.
- `gateRatio`: the second candidate of the day, as a gate asks for it: candidate, base and incumbent on the several-token
  task. We have measured base and incumbent before, and find them by their keys; theirs loads and measures three models.
- `gateRatioTheirCache`: the same with their cache of answers (`use_cache`) filled for base and incumbent.
- `ratioOfCpuTime` beside each: the same by the CPU time of both.
- `maxAbsDiff`: the largest difference of a log-likelihood, in nats, over all choices of both tasks.
- `sameGenerations`: the share of generations that are the same text.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from lm_eval.models.huggingface import HFLM
from serin_evaluator.cache import ScoreCache
from serin_evaluator.config import Model, Role, Suite
from serin_evaluator.loading import load
from serin_evaluator.measured import Choice, Generation
from serin_evaluator.measuring import measure
from serin_evaluator.parts import Parts
from serin_evaluator.suites import Example, LoadedSuite
from support.tiny_model import write_manifest, write_tokenizer
from transformers.utils import logging as transformers_logging

ROOT = Path(__file__).resolve().parents[1]
BATCH = 32
NEW_TOKENS = 32
WORDS = (
    "the",
    "number",
    "of",
    "pods",
    "that",
    "a",
    "deployment",
    "wants",
    "is",
    "set",
    "by",
    "its",
    "field",
    "replicas",
    "and",
    "read",
)


class Time(NamedTuple):
    """What one side took: on the clock, and of this process' cores, which says more on a machine that others use too."""

    seconds: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=48)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench" / "evaluate.json")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        figures = run(Path(folder), arguments.rounds, arguments.examples)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


def run(folder: Path, rounds: int, count: int) -> dict[str, Any]:
    roles = ("base", "incumbent", "candidate")
    digests = {role: write_model(folder / "models" / role, seed) for seed, role in enumerate(roles)}
    several = examples(count, several=True)
    figures: dict[str, Any] = {}
    single_model(folder / "models" / "base", figures, several, examples(count, several=False), rounds)
    gate(folder, figures, digests, several, rounds)
    figures["setup"] = {
        "model": "Llama, 4 layers of 192, vocabulary 8192, random weights, fp32",
        "threads": torch.get_num_threads(),
        "batch": BATCH,
        "rounds": rounds,
        "examples": count,
        "choices": 4,
        "newTokens": NEW_TOKENS,
        "lmEval": version("lm_eval"),
        "torch": version("torch"),
        "transformers": version("transformers"),
    }
    return figures


def single_model(
    base: Path, figures: dict[str, Any], several: dict[int, Example], single: dict[int, Example], rounds: int
) -> None:
    """Both kinds of multiple choice, and generation."""
    ours, theirs = load(base, "cpu", "pvc://models/base"), harness(base)
    differences = [
        likelihoods(figures, "multiToken", (ours, theirs), several, rounds),
        likelihoods(figures, "oneToken", (ours, theirs), single, rounds),
    ]
    figures["maxAbsDiff"] = float(f"{max(differences):.3g}")
    requests = generations(several)
    (mine, said), (other, told) = in_turns(
        rounds, lambda: generate(ours, several), lambda: theirs.generate_until(requests, disable_tqdm=True)
    )
    tell(figures, "generation", len(requests), mine, other)
    figures["sameGenerations"] = round(sum(a == b for a, b in zip(said, told, strict=True)) / len(said), 4)


def likelihoods(
    figures: dict[str, Any], name: str, models: tuple[Any, Any], asked: dict[int, Example], rounds: int
) -> float:
    """The largest difference of a log-likelihood between the two."""
    ours, theirs = models
    requests = loglikelihoods(asked)
    (mine, found), (other, known) = in_turns(
        rounds, lambda: choose(ours, asked), lambda: theirs.loglikelihood(requests, disable_tqdm=True)
    )
    tell(figures, name, len(requests), mine, other)
    return max(abs(a - b) for a, (b, _) in zip(found, known, strict=True))


def gate(
    folder: Path, figures: dict[str, Any], digests: dict[str, str], asked: dict[int, Example], rounds: int
) -> None:
    """The second candidate of the day."""
    os.environ["SERIN_PVC_ROOT"] = str(folder)
    roles = (Role.CANDIDATE, Role.BASE, Role.INCUMBENT)
    models = [Model(role=role, uri=f"pvc://models/{role.lower()}", digest=digests[role.lower()]) for role in roles]
    suite = Suite.model_validate(
        {"name": "s", "dataset": {"uri": "pvc://d/s.jsonl"}, "metrics": ["Accuracy"], "choices": {"field": "options"}}
    )
    loaded = LoadedSuite(suite=suite, digest="sha256:" + "0" * 64, rows=len(asked), without_answer=0, examples=asked)
    requests = loglikelihoods(asked)
    morning, day = folder / "morning", folder / "day"
    for model in models[1:]:
        measure(model, [loaded], ScoreCache(morning), 7)

    def ours() -> None:
        shutil.rmtree(day, ignore_errors=True)
        shutil.copytree(morning, day)
        for model in models:
            measure(model, [loaded], ScoreCache(day), 7)

    def theirs(cached: bool = False) -> None:
        for role in ("candidate", "base", "incumbent"):
            model: Any = harness(folder / "models" / role)
            if cached and role != "candidate":
                model = CachingLM(model, str(folder / f"{role}.db"))
            model.loglikelihood(requests)

    (mine, _), (other, _), (kept, _) = in_turns(rounds, ours, theirs, lambda: theirs(cached=True))
    tell(figures, "gate", 3 * len(requests), mine, other)
    figures["gateRatioTheirCache"] = ratio(mine, kept)


def in_turns(rounds: int, *sides: Callable[[], Any]) -> list[tuple[list[Time], Any]]:
    """The times of each side in each round, and what it gave last; before the first round each has run once."""
    given = [side() for side in sides]
    times: list[list[Time]] = [[] for _ in sides]
    for turn in range(rounds):
        for at in range(len(sides))[:: 1 if turn % 2 else -1]:
            gc.collect()
            began, busy = time.perf_counter(), time.process_time()
            given[at] = sides[at]()
            times[at].append(Time(time.perf_counter() - began, time.process_time() - busy))
            print(f"round {turn} side {at}: {times[at][-1]}", file=sys.stderr, flush=True)
    return list(zip(times, given, strict=True))


def tell(figures: dict[str, Any], name: str, requests: int, ours: list[Time], theirs: list[Time]) -> None:
    figures[f"{name}Ratio"] = ratio(ours, theirs)
    print(f"{name}Ratio={figures[f'{name}Ratio']}", file=sys.stderr, flush=True)
    figures[f"{name}RequestsPerSecond"] = {
        "ours": round(requests / statistics.median(one.seconds for one in ours), 1),
        "theirs": round(requests / statistics.median(one.seconds for one in theirs), 1),
        "roundsOurs": [round(requests / one.seconds, 1) for one in ours],
        "roundsTheirs": [round(requests / one.seconds, 1) for one in theirs],
        "ratioOfCpuTime": round(
            statistics.median(one.cpu for one in theirs) / statistics.median(one.cpu for one in ours), 3
        ),
    }


def ratio(ours: list[Time], theirs: list[Time]) -> float:
    """How many times as fast ours is."""
    return round(statistics.median(one.seconds for one in theirs) / statistics.median(one.seconds for one in ours), 3)


def harness(folder: Path) -> Any:
    return HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=BATCH)


def choose(model: Any, asked: dict[int, Example]) -> list[float]:
    entry = model.choices(asked, lambda done: None, Parts(None, Choice))
    return [log for one in sorted(asked) for log in entry.measured[one].log_likelihoods]


def generate(model: Any, asked: dict[int, Example]) -> list[str]:
    entry = model.generations(asked, (), NEW_TOKENS, lambda done: None, Parts(None, Generation))
    return [entry.measured[one].text for one in sorted(asked)]


def loglikelihoods(asked: dict[int, Example]) -> list[Any]:
    pairs = [(asked[one].prompt, choice) for one in sorted(asked) for choice in asked[one].choices]
    return [Instance("loglikelihood", {}, pair, at) for at, pair in enumerate(pairs)]


def generations(asked: dict[int, Example]) -> list[Any]:
    limits = {"until": [], "max_gen_toks": NEW_TOKENS, "do_sample": False}
    return [Instance("generate_until", {}, (asked[one].prompt, limits), at) for at, one in enumerate(sorted(asked))]


def examples(count: int, *, several: bool) -> dict[int, Example]:
    """Questions with four answers: of 2 to 9 words, or of a letter."""
    draw = random.Random(5)
    made: dict[int, Example] = {}
    for one in range(count):
        prompt = "Question: " + " ".join(draw.choices(WORDS, k=draw.randint(35, 75))) + "?\nAnswer:"
        words = [" " + " ".join(draw.choices(WORDS, k=draw.randint(2, 9))) for _ in range(4)]
        choices = tuple(words) if several else (" a", " o", " t", " s")
        made[one] = Example(one, prompt, (), choices[0], choices=choices)
    return made


def write_model(folder: Path, seed: int) -> str:
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True)
    write_tokenizer(folder)
    torch.manual_seed(seed)
    shape = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 6}
    config = LlamaConfig(
        architectures=["LlamaForCausalLM"], vocab_size=8192, num_key_value_heads=2, max_position_embeddings=1024,
        tie_word_embeddings=True, initializer_range=0.05, bos_token_id=None, eos_token_id=0, **shape,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.generation_config.eos_token_id = None  # answers of full length
    model.save_pretrained(folder)
    return write_manifest(folder)


if __name__ == "__main__":
    main()
