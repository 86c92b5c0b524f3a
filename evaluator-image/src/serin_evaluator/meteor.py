"""METEOR (Lavie and Agarwal 2007) of one answer against the right one, by NLTK with the synonyms of WordNet 3.0.

Words are aligned when they are the same, have the same stem (Porter), or are synonyms; without WordNet the number would be
another metric under this name, so it is asked for before anything is measured. The synonyms are English: words of other
languages are aligned by form and stem only. Not here: the other scores of texts (`texts.py`).
"""

import os
import re
import warnings
from functools import lru_cache
from importlib.metadata import version
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any, Final

from serin_evaluator.errors import ConfigError

_IN_THE_IMAGE: Final = "/usr/share/wordnet"
"""Where Debian's package wordnet-base puts it."""
_VERSION: Final = "3.0"
_KINDS: Final = ("noun", "verb", "adj", "adv")
_NEEDED: Final = [file for kind in _KINDS for file in (f"index.{kind}", f"data.{kind}", f"{kind}.exc")]
_LEXICOGRAPHERS_FILES: Final = 45
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+")


def wordnet_folder() -> Path:
    """Where WordNet lies. SERIN_WORDNET stands in for the image's outside a pod."""
    return Path(os.environ.get("SERIN_WORDNET", _IN_THE_IMAGE))


def require_wordnet() -> None:
    """Nothing when WordNet 3.0 is there; else a ConfigError that says what is missing."""
    folder = wordnet_folder()
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if missing:
        raise _without_wordnet(f"{folder} has no {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}")
    with (folder / "data.noun").open(encoding="ascii", errors="replace") as lines:
        licence = "".join(next(lines, "") for _ in range(29))
    if f"WordNet {_VERSION} Copyright" not in licence:
        raise _without_wordnet(f"what lies in {folder} is another version of it")


def _without_wordnet(why: str) -> ConfigError:
    return ConfigError(
        "WordNetMissing",
        f"METEOR needs WordNet {_VERSION} for its synonyms, and {why}.",
        "Run Serin's own evaluator image, or one with Debian's package wordnet-base; or take METEOR out of the suite.",
    )


def meteor(text: str, answer: str) -> float:
    """METEOR from 0 to 1, with NLTK's weights (alpha 0.9, beta 3, gamma 0.5)."""
    from nltk.translate.meteor_score import single_meteor_score

    return single_meteor_score(words(answer), words(text), wordnet=wordnet())


def words(text: str) -> list[str]:
    """Words and punctuation as NLTK's `word_tokenize` has them, where sentences end at . ! or ? before white space (it asks a
    model for the ends, which also knows abbreviations)."""
    from nltk.tokenize import NLTKWordTokenizer

    split = NLTKWordTokenizer().tokenize
    return [word for sentence in _SENTENCE_END.split(text.strip()) for word in split(sentence)]


def signature() -> str:
    """What the scores can be compared under, written as sacrebleu's signatures are."""
    return f"nrefs:1|case:lc|tok:nltk|stem:porter|wordnet:{_VERSION}|alpha:0.9|beta:3|gamma:0.5|nltk:{version('nltk')}"


@lru_cache(maxsize=1)
def wordnet() -> Any:
    """NLTK's reader, over the files as WordNet and Debian publish them (NLTK's own copy has two more). It takes seconds to read
    them: once, and only where METEOR is asked for."""
    from nltk import data
    from nltk.corpus.reader import WordNetCorpusReader

    require_wordnet()
    folder = wordnet_folder()
    if str(folder) not in data.path:
        data.path.append(str(folder))  # NLTK reads below the folders of this list only

    class Reader(WordNetCorpusReader):
        def open(self, file: str) -> Any:
            """A file of the folder, held in memory (22 MB in all), since NLTK closes none. The names of the
            lexicographers' files, which nothing here asks for, are compiled into WordNet's library and lie nowhere."""
            if file == "lexnames":
                return StringIO("".join(f"{place} file.{place} 0\n" for place in range(_LEXICOGRAPHERS_FILES)))
            return TextIOWrapper(BytesIO((folder / file).read_bytes()), encoding="latin-1")

        def map_wn(self, version: str = "wordnet") -> None:
            """Nothing: other languages' synonyms would have to be mapped from NLTK's own copy."""

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The multilingual functions", UserWarning)
        return Reader(str(folder), None)
