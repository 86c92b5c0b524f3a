"""Rows in another language are found offline; rows that could be any are left alone."""

import json

import pytest
from serin_trainer.errors import ConfigError
from serin_trainer.language import LanguageCheck
from serin_trainer.rows import Refusal, parse

ENGLISH = "The invoice was sent to the wrong address, so the customer never received it."
GERMAN = "Die Rechnung wurde an die falsche Adresse geschickt, deshalb hat der Kunde sie nie erhalten."
FRENCH = "La facture a été envoyée à la mauvaise adresse, le client ne l'a donc jamais reçue."


def check(languages: list[str], text: str) -> None:
    LanguageCheck(languages).check(parse(json.dumps({"text": text}), "f:1"))


@pytest.mark.parametrize(("languages", "text"), [
    (["en"], ENGLISH),
    (["en", "de"], GERMAN),
    ([], FRENCH),
    (["en"], "OK"),
    (["en"], "x = f(y) + 12_000"),
])  # fmt: skip
def test_rows_in_the_asked_languages_and_rows_that_cannot_tell_are_kept(languages: list[str], text: str) -> None:
    check(languages, text)


@pytest.mark.parametrize(("text", "code"), [(GERMAN, "de"), (FRENCH, "fr")])
def test_rows_in_another_language_are_refused_with_its_name(text: str, code: str) -> None:
    with pytest.raises(Refusal, match=f"in {code} .* sure., not in en") as refusal:
        check(["en"], text)
    assert refusal.value.reason == "WrongLanguage"


def test_a_language_that_cannot_be_told_is_the_users_turn() -> None:
    with pytest.raises(ConfigError, match=r"data\.cleaning\.languages names xx") as refusal:
        check(["en", "xx"], ENGLISH)
    assert "de" in refusal.value.advice
