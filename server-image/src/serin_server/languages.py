"""Which language a prompt or an answer is in, offline, by py3langid, so that a later look can tell whether that has changed.

The evaluator describes the evaluation set by the same code (`serin_evaluator/languages.py`, held equal by a test), since two
descriptions can be compared only when they are made in one way. Not here: counting (`metrics.py`).
"""

from functools import cache
from typing import Any

LANGUAGES = (
    "ar", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ru", "tr", "zh", "other", "unknown"
)  # fmt: skip
"""ISO 639-1 codes of those that are told apart; what is in another one, and what could be in any."""
_LEAST_LETTERS = 24
"""Names, numbers and code of a few words could be any language."""
_SURE = 0.95
_ENOUGH = 500
"""Characters that are looked at: what language it is shows in the first sentences."""


def language(text: str) -> str:
    """One of LANGUAGES. Some tenths of a millisecond."""
    beginning = text[:_ENOUGH]
    if sum(character.isalpha() for character in beginning) < _LEAST_LETTERS:
        return "unknown"
    found, probability = identifier().classify(beginning)
    if probability < _SURE:
        return "unknown"
    return str(found) if found in LANGUAGES else "other"


@cache
def identifier() -> Any:
    """Half a second of a core and 100 MiB, once."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
