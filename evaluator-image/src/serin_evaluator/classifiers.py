"""A sequence classifier in memory: how likely it finds a label of a text, or of a pair of texts.

Only safetensors are loaded, and no code of the model's. A text that is longer than the classifier reads is read in pieces, and the
piece that speaks most for the label counts. Not here: which texts (`classifying.py`), and whether the files are the right ones.
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from serin_evaluator.errors import ConfigError, DataError, TryAgain
from serin_evaluator.measured import Flag

_BATCH: Final = 16
_LONGEST: Final = 512
"""Tokens that a classifier reads when its files do not say."""
Texts = Mapping[int, tuple[str, str | None]]


class LoadedClassifier:
    """A classifier and the place of the label that it is asked for."""

    def __init__(self, model: Any, tokenizer: Any, label: str, uri: str) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._place = _place_of(label, model.config, uri)
        self._reads = set(inspect.signature(model.forward).parameters)
        self._longest = _longest(model.config, tokenizer)

    def flags(self, texts: Texts, progress: Callable[[int], None]) -> tuple[dict[int, Flag], list[int]]:
        """How likely the label is for each text or pair, and those of which the second text alone is too long."""
        found: dict[int, Flag] = {}
        too_long: list[int] = []
        for line, (text, other) in texts.items():
            pieces = self._pieces(text, other)
            if pieces:
                found[line] = Flag(max(self._probabilities(pieces)))
            else:
                too_long.append(line)
            progress(len(found) + len(too_long))
        return found, too_long

    def _pieces(self, text: str, other: str | None) -> list[dict[str, list[int]]]:
        """The text in windows that overlap by a quarter, each with the whole of the other one."""
        tokenizer = self._tokenizer
        added = tokenizer.num_special_tokens_to_add(pair=other is not None)
        second = tokenizer(other, add_special_tokens=False, verbose=False)["input_ids"] if other is not None else []
        room = self._longest - added - len(second)
        if room < min(16, self._longest // 4):
            return []
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = encoded["offset_mapping"]
        pieces: list[dict[str, list[int]]] = []
        start = 0
        while True:
            stop = min(start + room, len(offsets))
            part = text[offsets[start][0] : offsets[stop - 1][1]] if offsets else text
            piece = dict(tokenizer(part, other, truncation=True, max_length=self._longest, verbose=False))
            if not piece[
                "input_ids"
            ]:  # nothing was said, and this tokenizer adds nothing: a model reads at least one token
                piece = {name: [1 if name == "attention_mask" else tokenizer.pad_token_id or 0] for name in piece}
            pieces.append(piece)
            if stop >= len(offsets):
                return pieces
            start = stop - room // 4

    @torch.inference_mode()
    def _probabilities(self, pieces: list[dict[str, list[int]]]) -> list[float]:
        found: list[float] = []
        for start in range(0, len(pieces), _BATCH):
            some = pieces[start : start + _BATCH]
            width = max(len(piece["input_ids"]) for piece in some)
            padding = {"input_ids": self._tokenizer.pad_token_id or 0, "attention_mask": 0, "token_type_ids": 0}
            batch = {
                name: torch.tensor(
                    [piece[name] + [pad] * (width - len(piece[name])) for piece in some], device=self._model.device
                )
                for name, pad in padding.items()
                if name in self._reads and name in some[0]
            }
            found += self._shares(self._model(**batch).logits.float())
        return found

    def _shares(self, logits: Any) -> list[float]:
        """Labels that exclude each other share 1; others, and a single one, are each for themselves."""
        several = self._model.config.problem_type == "multi_label_classification" or logits.shape[-1] == 1
        return (logits.sigmoid() if several else logits.softmax(-1))[:, self._place].tolist()


def _place_of(label: str, config: Any, uri: str) -> int:
    labels = {str(name): int(place) for place, name in config.id2label.items()}
    if label not in labels:
        raise ConfigError(
            "LabelUnknown",
            f"The classifier {uri} has no label {label!r}; it has {', '.join(sorted(labels))[:300]}.",
            "Name one of these in the suite's classifiers.",
        )
    return labels[label]


def _longest(config: Any, tokenizer: Any) -> int:
    said = [getattr(config, "max_position_embeddings", None), tokenizer.model_max_length]
    # RoBERTa counts positions from behind its padding, so its last ones are not to be used.
    behind = 2 if getattr(config, "model_type", "") in ("roberta", "xlm-roberta", "camembert") else 0
    known = [int(one) for one in said if isinstance(one, int) and 1 < one < 1_000_000]
    return min(known, default=_LONGEST) - behind


def load_classifier(folder: Path, device: str, label: str, uri: str) -> LoadedClassifier:
    """The classifier in fp32: it is small beside what it judges."""
    if device == "cuda" and not torch.cuda.is_available():
        raise TryAgain("AcceleratorUnavailable", "The pod was given a GPU that torch cannot use.")
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:
        raise DataError(
            "ClassifierInvalid",
            f"The classifier {uri} cannot be loaded ({type(error).__name__}: {str(error)[:200]}).",
            "It needs config.json, *.safetensors and tokenizer.json of a model for sequence classification.",
        ) from error
    return LoadedClassifier(model.to(device).eval(), tokenizer, label, uri)
