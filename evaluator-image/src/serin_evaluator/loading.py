"""A verified model in memory, and what can be measured with it.

Only safetensors are loaded, and no code of the model's. Not here: whether its files are the right ones (`manifest.py`).
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from serin_evaluator.adapters import prompt_tokens, refuse_unasked, with_adapter
from serin_evaluator.benchmarks import Benchmarked
from serin_evaluator.cache import Entry
from serin_evaluator.choices import measure_choices
from serin_evaluator.errors import DataError, TryAgain
from serin_evaluator.generation import Limits, decoder, measure_generation
from serin_evaluator.likelihood import measure_likelihood
from serin_evaluator.measured import Choice, Generation, Likelihood, Pair, Speed
from serin_evaluator.parts import Parts
from serin_evaluator.progress import Progress
from serin_evaluator.prompts import Prompts
from serin_evaluator.suites import Example


class LoadedModel:
    """A model with its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any, uri: str) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._uri = uri
        self._prompts = Prompts(tokenizer, uri, prompt_tokens(model))
        self._context: int = getattr(model.config, "max_position_embeddings", None) or 2**31

    def likelihoods(
        self, examples: Mapping[int, Example], progress: Progress, parts: Parts[Likelihood]
    ) -> Entry[Likelihood]:
        """How likely the model finds the answers."""
        pairs = {line: self._prompts.pair(example) for line, example in examples.items()}
        fitting = {line: pair for line, pair in pairs.items() if self._fits(pair)}
        measured = measure_likelihood(self._model, fitting, progress, parts)
        return Entry(measured, tuple(sorted(pairs.keys() - fitting.keys())))

    def choices(self, examples: Mapping[int, Example], progress: Progress, parts: Parts[Choice]) -> Entry[Choice]:
        """How likely the model finds each of the answers that it may choose from."""
        pairs = {
            line: [self._prompts.pair(replace(example, answer=choice)) for choice in example.choices]
            for line, example in examples.items()
        }
        fitting = {line: of for line, of in pairs.items() if all(self._fits(pair) for pair in of)}
        measured = measure_choices(self._model, fitting, progress, parts)
        return Entry(measured, tuple(sorted(pairs.keys() - fitting.keys())))

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

    def _fits(self, pair: Pair) -> bool:
        return bool(pair.prompt and pair.answer) and len(pair.prompt) + len(pair.answer) <= self._context

    def speeds(
        self, examples: Mapping[int, Example], stop: tuple[str, ...], max_new_tokens: int, progress: Progress
    ) -> Entry[Speed]:
        """How long each answer takes when the machine has nothing else to do."""
        from serin_evaluator.speed import measure_speed

        prompts = {line: self._prompts.prompt(example) for line, example in examples.items()}
        fitting = {line: ids for line, ids in prompts.items() if ids and len(ids) + max_new_tokens <= self._context}
        limits = Limits(self._end_tokens(), stop, max_new_tokens)
        measured = measure_speed(self._model, decoder(self._tokenizer), fitting, limits, progress)
        return Entry(measured, tuple(sorted(prompts.keys() - fitting.keys())))

    def benchmarked(self, asked: Benchmarked, kind: type[Any], progress: Progress, parts: Parts[Any]) -> Entry[Any]:
        """What lm-evaluation-harness asks: likelihoods of texts, or answers."""
        from serin_evaluator.harness import Asking, HarnessModel

        asking = Asking(self._model, self._tokenizer, self._uri, self._context, self._end_tokens(), progress, parts)
        model = HarnessModel(asking)
        requests = asked.requests(kind, model.apply_chat_template if asked.apply_chat_template else None)
        return model.choices(requests) if kind is Choice else model.generations(requests)

    def _end_tokens(self) -> frozenset[int]:
        configured = self._model.generation_config.eos_token_id
        several = configured if isinstance(configured, list) else [configured]
        return frozenset(token for token in (*several, self._tokenizer.eos_token_id) if token is not None)


def load(folder: Path, device: str, uri: str, base: Path | None = None) -> LoadedModel:
    """The model in fp32 on a CPU (bf16 is emulated there, and many times slower), in bf16 on a GPU.

    With a base, the folder holds an adapter to it; it is put on in fp32, as it was trained.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise TryAgain("AcceleratorUnavailable", "The pod was given a GPU that torch cannot use.")
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    weights = base or folder
    try:
        refuse_unasked(weights, uri)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(
            weights,
            dtype=dtype if base is None else torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
        if base is not None:
            model = with_adapter(model, folder, uri).to(dtype)
    except DataError:
        raise
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
