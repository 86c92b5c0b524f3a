"""What prompts and answers look like, so that a later look can tell whether they have changed: lengths, refusals, repetition.

The evaluator describes the evaluation set by the same code (`serin_evaluator/shapes.py`, held equal by a test), since two
descriptions can be compared only when they are made in one way. Pure. Not here: counting (`metrics.py`).
"""

import re
from bisect import bisect_left

CHARACTERS = tuple(2**power for power in range(4, 15))
"""Upper bounds of the buckets of lengths: 16 to 16,384 characters, and one for what is longer."""
KINDS = ("plain", "refused", "repetitive", "empty")

_REFUSAL = re.compile(
    r"\b(i('m| am) (sorry|afraid|unable|not able)|i (can ?not|can't|won't|will not|must decline)"
    r"|i apologi[sz]e|as an ai|(es )?tut mir leid|ich kann (das|dir|ihnen) nicht|je suis désolé|lo siento)\b",
    re.IGNORECASE,
)
_OPENING = 200
"""A refusal is said at the beginning; an apology in the middle of a long answer is none."""
_FEWEST_WORDS = 12
_RUN = 4


def bucket(text: str) -> int:
    """The place of its length among the buckets."""
    return bisect_left(CHARACTERS, len(text))


def kind(answer: str) -> str:
    """What an answer is, told by its form alone."""
    if not answer.strip():
        return "empty"
    if _REFUSAL.search(answer[:_OPENING].replace("’", "'")):
        return "refused"
    return "repetitive" if _repeats(answer) else "plain"


def _repeats(answer: str) -> bool:
    """More than half of its runs of four words were there before: a model that has lost its way goes in circles."""
    words = answer.lower().split()
    if len(words) < _FEWEST_WORDS:
        return False
    runs = [tuple(words[at : at + _RUN]) for at in range(len(words) - _RUN + 1)]
    return 2 * len(set(runs)) < len(runs)
