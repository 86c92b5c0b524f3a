"""The verified model and its tokenizer: loading, and from a request's words to tokens.

Prompts become tokens as in training (`serin_trainer/tokens.py`): begun with BOS when the tokenizer has one, and chats
rendered by the tokenizer's own template, never by one that a request brings. Not here: computing answers (`batch.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serin_server.adapters import prompt_tokens, refuse_unasked, with_adapter
from serin_server.errors import ModelError, RequestError


@dataclass(frozen=True)
class Defaults:
    """What a request gets that asks for nothing: the model's own generation config."""

    temperature: float
    top_p: float


class ServedModel:
    """A model in memory."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self._tokenizer = tokenizer
        self.context: int = getattr(model.config, "max_position_embeddings", None) or 2**31
        self.end_tokens = self._end_tokens()
        self.defaults = self._defaults()
        self._before = prompt_tokens(model)
        self._longest_token = max((len(token) for token in tokenizer.get_vocab()), default=1)
        self._specials = tuple(token.content for token in tokenizer.added_tokens_decoder.values() if token.special)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, without special ones."""
        return self._tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def warm_up(self) -> None:
        """Compute once, so that the first request does not pay for what torch sets up lazily."""
        import torch

        with torch.inference_mode():
            self.model(torch.tensor([[0, 0]]))

    def prompt(self, text: str) -> list[int]:
        """The tokens of a raw prompt, or a RequestError when it does not fit."""
        if len(text) > self.context * self._longest_token:
            raise self._too_long(f"{len(text)} characters")  # said without the seconds that tokenising it would take
        ids = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        bos = self._tokenizer.bos_token_id
        if bos is not None and ids[:1] != [bos]:
            ids = [bos, *ids]
        if not ids:
            raise RequestError("The prompt is empty.", "prompt", "empty_prompt")
        ids = [*self._before, *ids]
        if len(ids) >= self.context:
            raise self._too_long(f"{len(ids)} tokens")
        return ids

    def chat(self, messages: list[dict[str, str]]) -> list[int]:
        """The tokens of a conversation that the model shall go on with."""
        if not self._tokenizer.chat_template:
            raise RequestError("This model has no chat template; use /v1/completions.", "messages", "no_chat_template")
        for index, message in enumerate(messages):
            self._refuse_specials(index, message["content"])
        try:
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # templates raise errors of their own for conversations that they do not take
            raise RequestError(f"The model's chat template refuses the messages: {error}", "messages") from error
        return self.prompt(text)

    def most_tokens(self, prompt: Sequence[int], asked: int | None, limit: int) -> int:
        """How many tokens the answer may have: what was asked for, at most the server's limit and what fits."""
        room = self.context - len(prompt)
        if asked is not None and min(asked, limit) > room:
            raise RequestError(
                f"{len(prompt)} tokens of prompt and up to {asked} of answer exceed the context of {self.context}.",
                "max_tokens",
                "context_length_exceeded",
            )
        return min(limit, room, asked if asked is not None else limit)

    def _refuse_specials(self, index: int, content: str) -> None:
        """A message that holds a special token's text would be read as the end of a turn, say, by the tokenizer."""
        for special in self._specials:
            if special in content:
                message = f"messages[{index}] holds the special token {special}, which would change who says what."
                raise RequestError(message, "messages", "special_token")

    def _too_long(self, what: str) -> RequestError:
        return RequestError(
            f"The prompt has {what}, but the model's context is {self.context} tokens.",
            "prompt",
            "context_length_exceeded",
        )

    def _end_tokens(self) -> frozenset[int]:
        configured = self.model.generation_config.eos_token_id
        several = configured if isinstance(configured, list) else [configured]
        return frozenset(token for token in (*several, self._tokenizer.eos_token_id) if token is not None)

    def _defaults(self) -> Defaults:
        config = self.model.generation_config
        if not config.do_sample:
            return Defaults(temperature=0.0, top_p=1.0)
        return Defaults(
            temperature=1.0 if config.temperature is None else config.temperature,
            top_p=1.0 if config.top_p is None else config.top_p,
        )


def load(folder: Path, uri: str, base: Path | None = None) -> ServedModel:
    """The model in fp32, as bf16 is emulated on most CPUs; safetensors only, no code of its own. With a base, the folder
    holds an adapter to it."""
    import torch
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    weights = base or folder
    try:
        refuse_unasked(weights, uri)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(
            weights, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
        if base is not None:
            model = with_adapter(model, folder, uri)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            "ModelInvalid",
            f"The model {uri} cannot be loaded ({type(error).__name__}: {str(error)[:200]}).",
            "It needs config.json, *.safetensors and tokenizer.json of a causal language model.",
        ) from error
    if getattr(model, "_is_stateful", False):
        raise ModelError(
            "ModelNotSupported",
            f"The model {uri} is a {type(model).__name__}, whose state has no place for padding.",
            "Serve a model with attention and a key-value cache.",
        )
    return ServedModel(model.eval(), tokenizer)
