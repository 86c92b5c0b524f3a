"""What the evaluation set and the candidate's answers to it look like, in the buckets that the server counts in.

The operator compares what users ask and get later with this (drift). Not here: the comparing, and what a prompt or an answer
looks like (`shapes.py`, `languages.py`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from serin_evaluator import shapes
from serin_evaluator.config import Role
from serin_evaluator.languages import LANGUAGES, language
from serin_evaluator.measuring import Measured
from serin_evaluator.result import Reference
from serin_evaluator.suites import Example, LoadedSuite


def reference(suites: Sequence[LoadedSuite], measured: Mapping[Role, Mapping[str, Measured]]) -> Reference | None:
    """Over all suites in which the candidate answered by itself; None when it did so in none."""
    prompts: list[str] = []
    answers: list[str] = []
    for suite in suites:
        if suite.benchmark is not None:
            continue  # nobody writes to a service as a benchmark does
        entry = measured[Role.CANDIDATE][suite.suite.name].generation
        for number, generation in (entry.measured if entry is not None else {}).items():
            prompts.append(_asked(suite.examples[number]))
            answers.append(generation.text)
    if not answers:
        return None
    return Reference(
        prompt_characters=_lengths(prompts),
        answer_characters=_lengths(answers),
        answer_kinds=tuple(sum(shapes.kind(answer) == kind for answer in answers) for kind in shapes.KINDS),
        prompt_languages=_languages(prompts),
        answer_languages=_languages(answers),
    )


def _asked(example: Example) -> str:
    """What a client would send: the messages without the template around them."""
    return "".join(message["content"] for message in example.messages) or example.prompt


def _lengths(texts: Iterable[str]) -> tuple[int, ...]:
    counts = [0] * (len(shapes.CHARACTERS) + 1)
    for text in texts:
        counts[shapes.bucket(text)] += 1
    return tuple(counts)


def _languages(texts: Sequence[str]) -> tuple[int, ...]:
    found = Counter(map(language, texts))
    return tuple(found[one] for one in LANGUAGES)
