"""A verified model in memory, and what can be measured with it.

Only safetensors are loaded, and no code of the model's. Not here: whether its files are the right ones (`manifest.py`).
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from serin_evaluator.cache import Entry
from serin_evaluator.errors import DataError, TryAgain
from serin_evaluator.generation import Limits, measure_generation
from serin_evaluator.likelihood import measure_likelihood
from serin_evaluator.measured import Choice, Generation, Likelihood
from serin_evaluator.parts import Parts
from serin_evaluator.progress import Progress
from serin_evaluator.prompts import Prompts
from serin_evaluator.suites import Example


class LoadedModel:
    """A model with its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any, uri: str) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._prompts = Prompts(tokenizer, uri)
        self._context: int = getattr(model.config, "max_position_embeddings", None) or 2**31

    def likelihoods(
        self, examples: Mapping[int, Example], progress: Progress, parts: Parts[Likelihood]
    ) -> Entry[Likelihood]:
        """How likely the model finds the answers."""
        pairs = {line: self._prompts.pair(example) for line, example in examples.items()}
        fitting = {
            line: pair
            for line, pair in pairs.items()
            if pair.prompt and pair.answer and len(pair.prompt) + len(pair.answer) <= self._context
        }
        measured = measure_likelihood(self._model, fitting, progress, parts)
        return Entry(measured, tuple(sorted(pairs.keys() - fitting.keys())))

    def choices(self, examples: Mapping[int, Example], progress: Progress, parts: Parts[Likelihood]) -> Entry[Choice]:
        """How likely the model finds each of the answers that it may choose from."""
        pairs = {
            (line, place): self._prompts.pair(replace(example, answer=choice))
            for line, example in examples.items()
            for place, choice in enumerate(example.choices)
        }
        unfit = {
            line
            for (line, _), pair in pairs.items()
            if not (pair.prompt and pair.answer and len(pair.prompt) + len(pair.answer) <= self._context)
        }
        fitting = {at: pair for at, ((line, _), pair) in enumerate(pairs.items()) if line not in unfit}
        measured = measure_likelihood(self._model, fitting, progress, parts)
        found: dict[int, list[float]] = {}
        for at, (line, _) in enumerate(pairs):
            if line not in unfit:
                found.setdefault(line, []).append(-measured[at].negative_log_likelihood)
        return Entry({line: Choice(tuple(logs)) for line, logs in found.items()}, tuple(sorted(unfit)))

    def generations(
        self,
        examples: Mapping[int, Example],
        stop: tuple[str, ...],
        max_new_tokens: int,
        progress: Progress,
        parts: Parts[Generation],
    ) -> Entry[Generation]:
        """What the model answers itself."""
        prompts = {line: self._prompts.prompt(example) for line, example in examples.items()}
        fitting = {line: ids for line, ids in prompts.items() if ids and len(ids) + max_new_tokens <= self._context}
        limits = Limits(self._end_tokens(), stop, max_new_tokens)
        measured = measure_generation(self._model, self._tokenizer, fitting, limits, progress, parts)
        return Entry(measured, tuple(sorted(prompts.keys() - fitting.keys())))

    def _end_tokens(self) -> frozenset[int]:
        configured = self._model.generation_config.eos_token_id
        several = configured if isinstance(configured, list) else [configured]
        return frozenset(token for token in (*several, self._tokenizer.eos_token_id) if token is not None)


def load(folder: Path, device: str, uri: str) -> LoadedModel:
    """The model in fp32 on a CPU (bf16 is emulated there, and many times slower), in bf16 on a GPU."""
    if device == "cuda" and not torch.cuda.is_available():
        raise TryAgain("AcceleratorUnavailable", "The pod was given a GPU that torch cannot use.")
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:
        raise DataError(
            "ModelInvalid",
            f"The model {uri} cannot be loaded ({type(error).__name__}: {str(error)[:200]}).",
            "It needs config.json, *.safetensors and tokenizer.json of a causal language model.",
        ) from error
    if getattr(model, "_is_stateful", False):
        raise DataError(
            "ModelNotSupported",
            f"The model {uri} is a {type(model).__name__}, whose state has no place for padding.",
            "Use a model with attention and a key-value cache.",
        )
    return LoadedModel(model.to(device).eval(), tokenizer, uri)
