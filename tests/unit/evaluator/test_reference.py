"""What the evaluation set looks like, as drift is told by it later."""

from typing import Any

from serin_evaluator.cache import Entry
from serin_evaluator.config import Role
from serin_evaluator.languages import LANGUAGES
from serin_evaluator.measured import Generation
from serin_evaluator.measuring import Measured
from serin_evaluator.reference import reference
from serin_evaluator.result import Output, Reference, Result
from serin_evaluator.suites import Example


class ASuite:
    """A loaded suite, as far as it matters here."""

    def __init__(self, name: str, *examples: Example) -> None:
        self.suite = type("Named", (), {"name": name})
        self.benchmark = None
        self.examples = {example.line: example for example in examples}


def measured(**texts: list[str]) -> Any:
    return {
        Role.CANDIDATE: {
            suite: Measured(
                generation=Entry({at: Generation(text, 3, "stop") for at, text in enumerate(said, 1)}, ())
                if said
                else None
            )
            for suite, said in texts.items()
        }
    }


def an_example(line: int, prompt: str, *messages: str) -> Example:
    return Example(line, prompt, tuple({"role": "user", "content": text} for text in messages), "right")


def in_languages(**counts: int) -> tuple[int, ...]:
    return tuple(counts.get(one, 0) for one in LANGUAGES)


def test_prompts_and_answers_of_all_suites_are_counted_by_length_and_kind() -> None:
    suites: Any = [
        ASuite("one", an_example(1, "x" * 10), an_example(2, "x" * 20)),
        ASuite("two", an_example(1, "rendered", "x" * 30, "x" * 40)),
    ]
    found = reference(suites, measured(one=["y" * 16, ""], two=["I cannot say that."]))
    assert found == Reference(
        prompt_characters=(1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0),
        answer_characters=(2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        answer_kinds=(1, 1, 0, 1),
        prompt_languages=in_languages(unknown=3),
        answer_languages=in_languages(unknown=3),
    )


def test_prompts_and_answers_are_counted_by_language_as_far_as_it_can_be_told() -> None:
    asked = ["How many pods does the deployment want?", "Wie viele Pods will das Deployment haben?", "pods"]
    suites: Any = [ASuite("one", *(an_example(line, text) for line, text in enumerate(asked, 1)))]
    found = reference(
        suites, measured(one=["It wants three of them, and one more.", "Es sollen drei sein, und noch eines.", ""])
    )
    assert found is not None
    assert found.prompt_languages == in_languages(en=1, de=1, unknown=1)
    assert found.answer_languages == in_languages(en=1, de=1, unknown=1)


def test_a_candidate_that_answered_nothing_by_itself_has_none() -> None:
    suites: Any = [ASuite("one", an_example(1, "x"))]
    assert reference(suites, measured(one=[])) is None


def test_it_is_small_and_left_out_where_there_is_none() -> None:
    def encoded(seen: Reference | None) -> bytes:
        output = Output(report_uri="pvc://a/report.json", scores=(), comparisons=(), reference=seen)
        return Result(key="0", outcome="Succeeded", reason="Succeeded", message="", output=output).encoded()

    full = Reference(
        prompt_characters=(99_999,) * 12,
        answer_characters=(99_999,) * 12,
        answer_kinds=(99_999,) * 4,
        prompt_languages=(9_999,) * 17,
        answer_languages=(9_999,) * 17,
    )
    assert b"reference" not in encoded(None)
    assert len(encoded(full)) - len(encoded(None)) < 550
    assert Result.model_validate_json(encoded(full)).output.reference == full  # type: ignore[union-attr]
