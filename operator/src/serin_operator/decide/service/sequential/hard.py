"""Failures that need no statistics: most requests fail, or no pod is ready. Two polls that agree are enough.

One bad poll can be a restart or a scrape that came late. Two in a row with more than half of their requests failed do
not happen to a candidate that is any good: at 1 percent errors, less than once in a hundred million pairs of polls.
This rule does not compare: an outage of something behind both arms also trips it, and then the stable is no worse off.
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
    not_ready: int = 0
    """For how many polls in a row no pod was ready."""


def advance(state: HardState, tally: Tally, ready: bool) -> HardState:
    """The state after a poll of the candidate's counters and of its pods. A poll without requests changes no counts."""
    polled = replace(state, seen=tally, not_ready=0 if ready else state.not_ready + 1)
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
    if state.not_ready >= 2:
        return Judgement(Verdict.FAILED, f"no pod of the candidate was ready in {state.not_ready} polls in a row")
    if state.both.requests >= MIN_REQUESTS and state.both.failed > state.both.requests / 2:
        failed, requests = state.both.failed, state.both.requests
        return Judgement(Verdict.FAILED, f"{failed:.0f} of {requests:.0f} requests of the last two polls failed")
    return None
