"""Adapters that training kept: put on their base model when it is loaded, so that what is served is one model.

Not here: whether the files of both are the right ones (`verify.py`).
"""

import json
from pathlib import Path
from typing import Any

from serin_server.errors import ModelError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PROMPT = "PROMPT_TUNING"
_KINDS = ("LORA", "IA3", _PROMPT)
_EMBEDDINGS = "prompt_embeddings"


def refuse_unasked(folder: Path, uri: str) -> None:
    """An adapter_config.json beside weights would make the library load another model, from wherever it says."""
    if (folder / CONFIG).exists():
        raise ModelError(
            "ModelInvalid",
            f"The model {uri} has an {CONFIG}, so other weights than its own would be loaded.",
            "Name an adapter with its base model, or take the file away.",
        )


def with_adapter(model: Any, folder: Path, uri: str) -> Any:
    """The model with the adapter of the folder in its weights, or with its learned prompt among its tokens. Code and pickled
    weights of the folder are not looked at."""
    kind = json.loads((folder / CONFIG).read_bytes()).get("peft_type")
    if kind not in _KINDS or not (folder / WEIGHTS).is_file():
        raise ModelError(
            "ModelInvalid",
            f"The adapter {uri} is of the kind {kind}; it must be one of {', '.join(_KINDS)}, in {WEIGHTS}.",
            "Keep adapters as training writes them.",
        )
    if kind == _PROMPT:
        return _with_prompt(model, folder, uri)
    from peft import PeftModel  # only when there is one: it takes seconds to import

    return PeftModel.from_pretrained(model, folder, local_files_only=True).merge_and_unload()


def prompt_tokens(model: Any) -> list[int]:
    """The tokens that each prompt begins with: those of a learned prompt, none for other models."""
    words = model.get_input_embeddings()
    return list(words.tokens) if hasattr(words, "tokens") else []


def _with_prompt(model: Any, folder: Path, uri: str) -> Any:
    """A learned prompt becomes tokens behind the vocabulary, which can be read and not written: so that batches, caches and
    positions are those of any other text. What the model is told of itself, such as its head, stays as it was."""
    import torch
    from safetensors.torch import load_file

    words = model.get_input_embeddings()
    learned = load_file(folder / WEIGHTS).get(_EMBEDDINGS)
    if learned is None or learned.dim() != 2 or learned.shape[1] != words.weight.shape[1]:
        found = "lacks them" if learned is None else f"has them of the shape {list(learned.shape)}"
        raise ModelError(
            "ModelInvalid",
            f"The adapter {uri} should have {_EMBEDDINGS} of {words.weight.shape[1]} numbers each, and {found}.",
            "Keep adapters as training writes them.",
        )

    class Prompted(torch.nn.Module):
        """Embeddings of the model's words, and of the prompt's tokens behind them."""

        def __init__(self) -> None:
            super().__init__()
            self.words = words
            self.prompt = torch.nn.Parameter(learned.to(words.weight.dtype), requires_grad=False)
            self.tokens = range(words.weight.shape[0], words.weight.shape[0] + learned.shape[0])

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            place = ids - self.tokens.start
            own = self.prompt[place.clamp(min=0)]
            return torch.where((place >= 0).unsqueeze(-1), own, self.words(ids.clamp(max=self.tokens.start - 1)))

    model.set_input_embeddings(Prompted())
    return model
