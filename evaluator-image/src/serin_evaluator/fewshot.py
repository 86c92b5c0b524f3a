"""Few-shot suites: solved examples before each question, the same before all of them, and never one that is evaluated.

Which ones is drawn with the evaluation's seed, so candidate, base and incumbent see the same. Not here: reading rows
(`suites.py`), and tokens (`prompts.py`).
"""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import replace

from serin_evaluator.config import FewShot
from serin_evaluator.errors import DataError
from serin_evaluator.suites import Example, LoadedSuite, read_dataset, solved_examples


def with_shots(loaded: LoadedSuite, seed: int) -> LoadedSuite:
    """The suite with the solved examples that it shows, when it shows any."""
    suite = loaded.suite
    if suite.few_shot is None:
        return loaded
    solved: Sequence[Example] = loaded.left
    digest, dataset = loaded.digest, suite.few_shot.dataset
    if dataset is not None:
        content, digest = read_dataset(suite.name, dataset)
        # Whose rows are only shown needs no choices, no slices and no context to follow from.
        plain = suite.model_copy(update={"dataset": dataset, "choices": None, "slices": (), "context_field": None})
        solved = solved_examples(content, plain)
    return replace(loaded, shots=_chosen(loaded, suite.few_shot, solved, seed), shots_digest=digest)


def asked(loaded: LoadedSuite) -> dict[int, Example]:
    """The suite's examples as a model is given them."""
    few = loaded.suite.few_shot
    if few is None:
        return loaded.examples
    return {line: _shown(example, loaded.shots, few.separator) for line, example in loaded.examples.items()}


def asked_digest(loaded: LoadedSuite) -> str:
    """Of all that a model is asked, in its order: equal digests are equal questions, whatever file they came from."""
    content = hashlib.sha256()
    for line, example in asked(loaded).items():
        row = [line, example.prompt, example.messages, example.answer, example.choices]
        content.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return "sha256:" + content.hexdigest()


def _chosen(loaded: LoadedSuite, few: FewShot, solved: Sequence[Example], seed: int) -> tuple[Example, ...]:
    name, evaluated = loaded.suite.name, loaded.examples.values()
    questions = {_question(example) for example in evaluated}
    # Suites whose scores need no right answer may have rows without one: there is nothing to show.
    left = [example for example in solved if example.answer.strip() and _question(example) not in questions]
    if len(left) < few.examples:
        where = few.dataset.uri if few.dataset else f"{loaded.suite.uri}, beside what is evaluated,"
        raise DataError(
            "FewShotTooFew",
            f"{where} has {len(left)} solved examples that ask nothing that is evaluated, and suite {name} shows"
            f" {few.examples}.",
            "Name a fewShot.dataset with other rows, or lower fewShot.examples or maxExamples.",
        )
    shots = random.Random(f"few-shot {seed}").sample(left, few.examples)
    for shot in shots:
        unlike = next((example for example in evaluated if not _fits(shot, example)), None)
        if unlike is not None:
            raise DataError(
                "FewShotUnfit",
                f"Line {shot.line} of the few-shot examples of suite {name} has another form than line {unlike.line} of"
                " its rows: messages and plain prompts cannot stand in one question.",
                "Give both the same fields: messages, prompt and completion, or input and output.",
            )
    return tuple(shots)


def _shown(example: Example, shots: Sequence[Example], separator: str) -> Example:
    """The example with the solved ones before it: as turns of its conversation, and in its plain prompt."""
    solved = "".join(shot.prompt + shot.answer + separator for shot in shots)
    system = tuple(turn for turn in example.messages if turn["role"] == "system")
    own = tuple(turn for turn in example.messages if turn["role"] != "system")
    turns = tuple(turn for shot in shots for turn in _turns(shot))
    return replace(
        example,
        prompt=solved + example.prompt if example.prompt else "",
        messages=(*system, *turns, *own) if example.messages else (),
    )


def _turns(shot: Example) -> list[dict[str, str]]:
    """Its conversation with the answer, but without its system message: the question has its own."""
    own = [turn for turn in shot.messages if turn["role"] != "system"]
    return [*own, {"role": "assistant", "content": shot.answer}]


def _question(example: Example) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What is asked, whatever the answer."""
    return example.prompt.strip(), tuple((turn["role"], turn["content"].strip()) for turn in example.messages)


def _fits(shot: Example, example: Example) -> bool:
    """Whether it can be shown in each form in which the example is asked."""
    return bool(shot.prompt) >= bool(example.prompt) and bool(shot.messages) >= bool(example.messages)
