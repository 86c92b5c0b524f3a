"""Which language a row is in, offline, by py3langid. A row is only called wrong when that is nearly sure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .errors import ConfigError
from .rows import Refusal, Row

# Names, numbers and code of a few words could be any language.
LEAST_LETTERS = 24
SURE = 0.95


class LanguageCheck:
    """Refuses rows in other languages than those asked for (ISO 639-1 codes); with none asked for, nothing."""

    def __init__(self, languages: Sequence[str]) -> None:
        self._languages = frozenset(languages)
        if not languages:
            return
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        self._identifier: Any = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        unknown = sorted(self._languages - set(self._identifier.labels))
        if unknown:
            raise ConfigError(
                "InvalidConfig",
                f"data.cleaning.languages names {', '.join(unknown)}, which cannot be told from others here",
                f"use codes of these: {', '.join(sorted(self._identifier.labels))}",
            )

    def check(self, row: Row) -> None:
        if not self._languages:
            return
        found = self.language_of(f"{row.asked()}\n{row.answered()}")
        if found is not None and found[0] not in self._languages:
            wanted = ", ".join(sorted(self._languages))
            raise Refusal("WrongLanguage", f"in {found[0]} ({found[1]:.0%} sure), not in {wanted}")

    def language_of(self, text: str) -> tuple[str, float] | None:
        """The language and how sure that is; None when the text cannot tell."""
        if sum(character.isalpha() for character in text) < LEAST_LETTERS:
            return None
        language, probability = self._identifier.classify(text)
        return (str(language), float(probability)) if probability >= SURE else None
