"""A pack of pairs of answers for people, blinded, and what they said of it.

The pack (`preference/<suite>/pack.jsonl` and `pack.html`) shows each pair as A and B in an order drawn with the seed; which is which
lies apart (`preference-keys/<suite>.jsonl`), and is for nobody who rates. Ratings are lines of {"pair", "choice": "A", "B" or
"Tie", "rater"}; a pair is known by its texts, so ratings of another model's pack are never taken for this one's.
Not here: statistics (`pairs.py`).
"""

import base64
import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

from serin_evaluator.agreement import LITTLE, alpha
from serin_evaluator.config import Preference
from serin_evaluator.errors import DataError
from serin_evaluator.pairs import Pairs
from serin_evaluator.result import write_atomically
from serin_evaluator.suites import Example
from serin_evaluator.uris import local_path

QUESTION: Final = "Which answer is better?"
_CHOICES: Final = ("A", "B", "Tie")


@dataclass(frozen=True)
class Shown:
    """One pair as people see it."""

    pair: str
    line: int
    asked: str
    a: str
    b: str
    candidate: str
    """Which of both is the candidate's: A or B."""


def pack(seed: int, suite: str, examples: Mapping[int, Example], answers: Mapping[int, tuple[str, str]]) -> list[Shown]:
    """The pairs that differ, in an order and with sides that are drawn with the seed and the texts."""
    found: list[Shown] = []
    for line, (ours, theirs) in answers.items():
        if ours.strip() == theirs.strip():
            continue
        example = examples[line]
        asked = example.prompt or "\n".join(f"{turn['role']}: {turn['content']}" for turn in example.messages)
        # Whatever the sides, a pair has one name: it is made of its texts in an order of their own.
        content = json.dumps([suite, line, asked, *sorted((ours, theirs))]).encode("utf-8", "replace")
        name = hashlib.sha256(content).hexdigest()[:16]
        first = random.Random(f"{seed} {name}").random() < 0.5
        sides = (ours, theirs) if first else (theirs, ours)
        found.append(Shown(name, line, asked, *sides, candidate="A" if first else "B"))
    return sorted(found, key=lambda one: hashlib.sha256(f"{seed} {one.pair} {one.line}".encode()).digest())


def write_pack(folder: Path, suite: str, preference: Preference, shown: Sequence[Shown]) -> None:
    """The pack in its folder, and its key in another."""
    rows = [{"pair": one.pair, "asked": one.asked, "a": one.a, "b": one.b} for one in shown]
    keys = [{"pair": one.pair, "line": one.line, "candidate": one.candidate} for one in shown]
    place = folder / "preference" / suite
    write_atomically(place / "pack.jsonl", _lines(rows))
    write_atomically(
        place / "pack.html", page(suite, preference.question or QUESTION, shown).encode("utf-8", "replace")
    )
    write_atomically(folder / "preference-keys" / f"{suite}.jsonl", _lines(keys))


def rated(preference: Preference, suite: str, shown: Sequence[Shown], answers: Mapping[int, tuple[str, str]]) -> Pairs:
    """What people said; without ratings of this pack all differing pairs wait."""
    known = {one.pair: one for one in shown}
    ratings = _ratings(preference, suite) if preference.ratings is not None else []
    here = [one for one in ratings if one["pair"] in known]
    worth: dict[int, list[float]] = {}
    said: dict[int, list[str]] = {}
    first = second = 0
    for one in here:
        pair, choice = known[one["pair"]], one["choice"]
        worth.setdefault(pair.line, []).append(0.5 if choice == "Tie" else float(choice == pair.candidate))
        said.setdefault(pair.line, []).append(
            "tie" if choice == "Tie" else "candidate" if choice == pair.candidate else "other"
        )
        first, second = first + (choice == "A"), second + (choice == "B")
    same = len(answers) - len(shown)
    ours = {pair.line for pair in shown}
    notes: list[str] = []
    if len(here) < len(ratings):
        notes.append(
            f"{len(ratings) - len(here)} of {len(ratings)} ratings named for {suite} are of other answers and not counted."
        )
    several = sum(len(of) > 1 for of in said.values())
    agreement = alpha(said.values())
    if agreement is not None and agreement < LITTLE:
        notes.append(
            f"The people who rated {suite} agree little: Krippendorff's alpha is {agreement:.2f} over the {several} pairs that"
            " several of them rated (1 is always, 0 what chance gives)."
        )
    scored = {line: 0.5 for line in answers if line not in ours} if here or not shown else {}
    scored |= {line: sum(of) / len(of) for line, of in worth.items()}
    raters = {one["rater"] for one in here}
    return Pairs(
        against=preference.against,
        by=f"{len(raters)} {'person' if len(raters) == 1 else 'people'}",
        worth=scored,
        pairs=len(answers),
        same=same,
        first=first,
        second=second,
        waiting=len(shown) - len(worth),
        rated_by_several=several,
        agreement=agreement,
        notes=tuple(notes),
    )


def _ratings(preference: Preference, suite: str) -> list[dict[str, str]]:
    source = preference.ratings
    assert source is not None
    try:
        content = local_path(source.uri).read_bytes()
    except OSError as error:
        raise DataError(
            "RatingsNotFound",
            f"The ratings {source.uri} of suite {suite} cannot be read: {error.strerror}.",
            "Check the uri in spec.ratings, and that the claim holds the file.",
        ) from error
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    if source.digest not in (None, digest):
        raise DataError(
            "RatingsChanged",
            f"The ratings {source.uri} have digest {digest}, but {source.digest} was asked for.",
            "Put the file back, or name the new digest in spec.ratings.",
        )
    found: dict[tuple[str, str], dict[str, str]] = {}
    for number, row in _rows(content, source.uri):
        one = {"pair": str(row.get("pair", "")), "choice": row.get("choice", ""), "rater": str(row.get("rater", ""))}
        if one["choice"] not in _CHOICES:
            raise _invalid(source.uri, number, f"choice is {str(one['choice'])[:40]!r}, not A, B or Tie")
        if not one["pair"]:
            raise _invalid(source.uri, number, "pair is missing")
        if (one["pair"], one["rater"]) in found:
            raise _invalid(
                source.uri,
                number,
                f"the pair {one['pair'][:40]} is rated twice by {one['rater'][:40] or 'nobody named'}",
            )
        found[one["pair"], one["rater"]] = one
    return list(found.values())


def _rows(content: bytes, uri: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            why = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "not JSON"
            raise _invalid(uri, number, why) from error
        if not isinstance(row, dict):
            raise _invalid(uri, number, "the row is not a JSON object")
        yield number, row


def _invalid(uri: str, number: int, why: str) -> DataError:
    return DataError("RatingsInvalid", f"{uri}:{number}: {why}.", f"Correct line {number} of the ratings.")


def _lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "replace")


_STYLE: Final = """
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
article{border-top:1px solid #8888;padding:1rem 0}pre{white-space:pre-wrap;border:1px solid #8888;border-radius:6px;padding:.6rem}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:1rem}label{margin-right:1.2rem}textarea{width:100%;height:10rem}
"""
_SCRIPT: Final = """
const out=document.getElementById('out'),rater=document.getElementById('rater');
function tell(){const rows=[...document.querySelectorAll('input[type=radio]:checked')].map(
 one=>JSON.stringify({pair:one.name,choice:one.value,rater:rater.value}));out.value=rows.join('\\n')+(rows.length?'\\n':'');
 document.getElementById('done').textContent=rows.length}
document.addEventListener('change',tell);rater.addEventListener('input',tell);
"""


def page(suite: str, question: str, shown: Sequence[Shown]) -> str:
    """A page to rate with: no network; what is chosen becomes lines to save as a file."""
    script = hashlib.sha256(_SCRIPT.encode()).digest()
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-" + base64.b64encode(script).decode() + "'"
    )
    articles = "".join(
        f"<article><pre>{escape(one.asked)}</pre><div class=pair><div><b>A</b><pre>{escape(one.a)}</pre></div>"
        f"<div><b>B</b><pre>{escape(one.b)}</pre></div></div>"
        + "".join(
            f'<label><input type="radio" name="{one.pair}" value="{choice}"> {choice}</label>' for choice in _CHOICES
        )
        + "</article>"
        for one in shown
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{escape(suite)}: which is better?</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(question)}</h1>"
        f'<p>{len(shown)} pairs. <label>Your name: <input id="rater"></label> chosen: <span id="done">0</span></p>{articles}'
        '<h2>Your ratings</h2><p>Save these lines as a file.</p><textarea id="out" readonly></textarea>'
        f"<script>{_SCRIPT}</script></body></html>\n"
    )
