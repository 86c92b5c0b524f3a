"""A model as lm-evaluation-harness asks it: its rules of what is a prompt and what an answer, our ways of asking.

Choices that begin alike are read together (`choices.py`), answers are decoded in batches (`generation.py`). What does not fit
into the model's context is left out and counted, where the harness's own backends cut the beginning off.
Not here: what is asked (`benchmarks.py`).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

import jinja2
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import has_bos_prefix, normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from serin_evaluator.adapters import prompt_tokens
from serin_evaluator.cache import Entry
from serin_evaluator.choices import measure_choices
from serin_evaluator.errors import DataError
from serin_evaluator.generation import Limits, measure_generation
from serin_evaluator.measured import Choice, Generation, Pair
from serin_evaluator.parts import Parts
from serin_evaluator.progress import Progress

MOST_NEW_TOKENS: Final = 256
"""Of an answer when its task says nothing, as in the harness."""
LONGEST: Final = 2048
"""The context of a model that names none, as in the harness."""
Said = tuple[float, bool]


@dataclass
class Asking:
    """A model, and all that asking it needs."""

    model: Any
    tokenizer: Any
    uri: str
    context: int
    end_tokens: frozenset[int]
    progress: Progress
    parts: Parts[Any]


@dataclass
class HarnessModel(TemplateLM):
    """What the harness calls a model."""

    asking: Asking
    backend: str = "causal"
    _groups: int = field(default=0, init=False)
    """How many groups of requests were numbered: what is kept of an earlier pod is known by these numbers."""

    def __post_init__(self) -> None:
        super().__init__()
        self.tokenizer = self.asking.tokenizer
        self._before = tuple(
            prompt_tokens(self.asking.model)
        )  # of a learned prompt, which the harness knows nothing of
        self._generated: dict[int, Generation] = {}

    @property
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that follows nothing."""
        begin = self.tokenizer.bos_token_id
        return self.eot_token_id if begin is None else int(begin)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        told = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        if add_special_tokens is None and has_bos_prefix(string, self.tokenizer.decode(self.prefix_token_id)):
            told = {"add_special_tokens": False}
        return list(self.tokenizer.encode(string, **told))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        if not self.tokenizer.chat_template:
            raise DataError(
                "ChatTemplateMissing",
                f"A benchmark asks for the chat template of {self.asking.uri}, which has none.",
                "Leave benchmark.applyChatTemplate out, or use a model with a chat template.",
            )
        try:
            return self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        except (jinja2.TemplateError, ValueError) as error:
            raise DataError(
                "TemplateMismatch",
                f"The chat template of {self.asking.uri} refuses a benchmark's messages: {error}.",
                "Leave benchmark.applyChatTemplate out, or use a model whose template takes such conversations.",
            ) from error

    def choices(self, requests: Mapping[int, Sequence[Any]]) -> Entry[Choice]:
        """How likely the model finds the texts of each example."""
        found: dict[int, list[Said | None]] = {}
        for kind, ask in (("loglikelihood", self.loglikelihood), ("loglikelihood_rolling", self._rolled)):
            of_kind = [(one, request) for one, of in requests.items() for request in of if request.request_type == kind]
            said = ask([request for _, request in of_kind]) if of_kind else []
            for (one, _), answer in zip(of_kind, said, strict=True):
                found.setdefault(one, []).append(answer)
        whole = {one: [answer for answer in of if answer is not None] for one, of in found.items()}
        measured = {
            one: Choice(tuple(likelihood for likelihood, _ in of), tuple(greedy for _, greedy in of))
            for one, of in whole.items()
            if len(of) == len(found[one])
        }
        return Entry(measured, tuple(sorted(found.keys() - measured.keys())))

    def generations(self, requests: Mapping[int, Sequence[Any]]) -> Entry[Generation]:
        """What the model answers to each example."""
        asked = {one: of[0] for one, of in requests.items()}
        self._generated = {}
        numbers = dict(enumerate(asked))
        self.generate_until(list(asked.values()))
        measured = {numbers[place]: said for place, said in self._generated.items()}
        return Entry(measured, tuple(sorted(asked.keys() - measured.keys())))

    def _loglikelihood_tokens(self, requests: list[tuple[Any, list[int], list[int]]], **_: Any) -> list[Any]:
        """Requests of one prompt in a row are the choices of one example."""
        groups: dict[int, list[Pair]] = {}
        answers: list[list[Said | None]] = []
        numbered: list[int] = []
        for _prompt, of in groupby(requests, key=lambda request: request[0][0] if request[0] else object()):
            pairs = [Pair((*self._before, *context), tuple(continuation)) for _, context, continuation in of]
            self._groups += 1
            numbered.append(self._groups)
            answers.append([None] * len(pairs))
            if all(self._fits(pair) for pair in pairs):
                groups[self._groups] = pairs
        measured = measure_choices(self.asking.model, groups, self.asking.progress, self.asking.parts, greedy=True)
        for place, number in enumerate(numbered):
            if number in measured:
                row = measured[number]
                answers[place] = list(zip(row.log_likelihoods, row.greedy, strict=True))
        return [answer for of in answers for answer in of]

    def _fits(self, pair: Pair) -> bool:
        return bool(pair.prompt and pair.answer) and len(pair.prompt) + len(pair.answer) <= self.asking.context

    def _rolled(self, requests: list[Any]) -> list[Said | None]:
        return [(likelihood, False) for likelihood in self.loglikelihood_rolling(requests)]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Of whole texts, in windows as long as the context: our batches read an answer's last token as well."""
        longest = min(self.asking.context, LONGEST if self.asking.context >= 2**31 else self.asking.context)
        longest -= 1 + len(self._before)
        windows = [list(self._windows(request.args[0], longest)) for request in requests]
        flat = [(None, *window) for of in windows for window in of]
        said = iter(self._loglikelihood_tokens(flat))
        return [sum(next(said)[0] for _ in of) for of in windows]

    def _windows(self, text: str, longest: int) -> Iterator[tuple[list[int], list[int]]]:
        tokens = self.tok_encode(text)
        yield from map(make_disjoint_window, get_rolling_token_windows(tokens, self.prefix_token_id, longest, 1))

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Answers; an empty one where a prompt does not fit."""
        alike: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            alike.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(place)
        end = self.tokenizer.decode([self.eot_token_id], skip_special_tokens=False)
        for says, places in sorted(alike.items()):
            told = normalize_gen_kwargs(json.loads(says), MOST_NEW_TOKENS)
            stop = tuple(dict.fromkeys(one for one in (*told["until"], end) if one))
            most = int(told["max_gen_toks"])
            prompts = {place: (*self._before, *self.tok_encode(requests[place].args[0])) for place in places}
            fitting = {place: of for place, of in prompts.items() if of and len(of) + most <= self.asking.context}
            limits = Limits(self.asking.end_tokens, stop, most)
            self._generated |= measure_generation(
                self.asking.model, self.tokenizer, fitting, limits, self.asking.progress, self.asking.parts
            )
        return [self._generated[place].text if place in self._generated else "" for place in range(len(requests))]
