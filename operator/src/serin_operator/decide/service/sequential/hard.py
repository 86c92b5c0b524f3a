"""Failures that need no statistics: most requests fail. Two polls that agree are enough.

One bad poll can be a restart or a scrape that came late. Two in a row with more than half of their requests failed do
not happen to a candidate that is any good: at 1 percent errors, less than once in a hundred million pairs of polls.
This rule does not compare: an outage of something behind both arms also trips it, and then the stable is no worse off.
Not here: that no pod is ready. It takes a candidate's traffic at the first look that sees it, so there is nothing to poll.
"""

from dataclasses import dataclass, replace
from typing import Final

from serin_operator.api.v1alpha1 import Verdict
from serin_operator.decide.service.sequential.errors import NONE, Tally
from serin_operator.decide.service.sequential.rule import Judgement

MIN_REQUESTS: Final = 4
"""In both polls together; fewer say too little."""


@dataclass(frozen=True, slots=True)
class HardState:
    """The last poll that said something."""

    seen: Tally | None = None
    """The counters at the last poll."""
    last: Tally = NONE
    """What came in the last poll in which requests came."""
    both: Tally = NONE
    """What came in the two last of them; nothing when one of the two had no failure."""


def advance(state: HardState, tally: Tally) -> HardState:
    """The state after a poll of the candidate's counters. A poll without requests changes no counts."""
    polled = replace(state, seen=tally)
    if state.seen is None:
        return polled
    new = Tally(tally.requests - state.seen.requests, tally.failed - state.seen.failed)
    if not 0 <= new.failed <= new.requests or not new.requests:
        return polled  # nothing new, or a counter fell
    agree = new.failed and state.last.failed
    both = Tally(state.last.requests + new.requests, state.last.failed + new.failed) if agree else NONE
    return replace(polled, last=new, both=both)


def judged(state: HardState) -> Judgement | None:
    """The failure, or None when there is none to be seen."""
    if state.both.requests >= MIN_REQUESTS and state.both.failed > state.both.requests / 2:
        failed, requests = state.both.failed, state.both.requests
        return Judgement(Verdict.FAILED, f"{failed:.0f} of {requests:.0f} requests of the last two polls failed")
    return None
