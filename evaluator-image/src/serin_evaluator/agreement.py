"""How far people agree who rate the same things: Krippendorff's alpha of verdicts without an order (2011, "Computing
Krippendorff's Alpha-Reliability").

1 is always, 0 is what chance would give, less than 0 is less than that. It takes any number of raters, and things that not all
of them rated. Pure. Not here: who rates what (`preference.py`).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

LITTLE: Final = 0.667
"""Below this, Krippendorff would draw no conclusion from ratings."""


def alpha(things: Iterable[Sequence[str]]) -> float | None:
    """From the verdicts on each thing; None where nobody could have disagreed: no thing has two, or all are the same."""
    together: defaultdict[tuple[str, str], float] = defaultdict(float)
    for verdicts in things:
        if len(verdicts) < 2:
            continue
        counts = Counter(verdicts)
        for one, times in counts.items():
            for other, again in counts.items():
                together[one, other] += times * (again - (one == other)) / (len(verdicts) - 1)
    of_each: defaultdict[str, float] = defaultdict(float)
    for (one, _), pairs in together.items():
        of_each[one] += pairs
    n = sum(of_each.values())
    by_chance = n * n - sum(number * number for number in of_each.values())
    differing = sum(pairs for (one, other), pairs in together.items() if one != other)
    return 1 - (n - 1) * differing / by_chance if by_chance > 0 else None
