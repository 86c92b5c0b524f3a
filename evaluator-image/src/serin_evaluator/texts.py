"""Scores of one answer against the right one, from 0 to 1, by their words.

ROUGE counts as the `rouge-score` package does (held against it in tests). Not here: scores of a whole corpus (`corpus.py`), and
METEOR, which needs a dictionary (`meteor.py`).
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(text: str, answer: str) -> float:
    """1 when the texts are the same but for white space around them."""
    return float(text.strip() == answer.strip())


def token_f1(text: str, answer: str) -> float:
    """F1 of the words that both have, as SQuAD counts them (Rajpurkar et al. 2016, aclanthology.org/D16-1264): lower
    case, without punctuation and articles."""
    said, right = _plain_words(text), _plain_words(answer)
    if not said or not right:
        return float(said == right)
    return _overlap(Counter(said), Counter(right))


def rouge_1(text: str, answer: str) -> float:
    """ROUGE-1 (Lin 2004, aclanthology.org/W04-1013): F1 of the words that both have."""
    return _overlap(_runs(_words(text), 1), _runs(_words(answer), 1))


def rouge_2(text: str, answer: str) -> float:
    """ROUGE-2: F1 of the pairs of neighbouring words that both have."""
    return _overlap(_runs(_words(text), 2), _runs(_words(answer), 2))


def rouge_l(text: str, answer: str) -> float:
    """ROUGE-L: F1 of the longest common subsequence of words."""
    said, right = _words(text), _words(answer)
    common = _longest_common_subsequence(said, right)
    return 2 * common / (len(said) + len(right)) if common else 0.0


def _words(text: str) -> list[str]:
    """Runs of a-z and 0-9 in lower case, as in the `rouge-score` package, so that numbers are comparable."""
    return re.findall(r"[a-z0-9]+", text.lower())


def _plain_words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _runs(words: Sequence[str], length: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[at : at + length]) for at in range(len(words) - length + 1))


def _overlap(said: Counter, right: Counter) -> float:
    common = (said & right).total()
    return 2 * common / (said.total() + right.total()) if common else 0.0


def _longest_common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    """Its length, by the bit-parallel method (Crochemore et al. 2001): a whole row of the table is one integer."""
    places: dict[str, int] = {}
    for index, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << index
    everything = (1 << len(left)) - 1
    row = everything
    for word in right:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & everything
    return len(left) - row.bit_count()
