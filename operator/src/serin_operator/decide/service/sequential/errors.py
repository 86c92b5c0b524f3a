"""Failed requests of the candidate against those of the stable at the same time.

Null hypothesis: in every interval, the candidate's probability of failing is at most `r` times that of the stable (r = 1:
no worse; r = 1.2: within a tolerance of 20 percent). An interval goes from look to look, until both arms had `LEAST`
requests. Both may drift in any way, together or not, as long as this holds: that is the use of a stable that serves at
the same time.

The bet. Of an interval with n_c and n_s requests and k_c and k_s failures, every failure is a coin that names an arm. On
the border of the null it names the candidate with q0 = r n_c / (r n_c + n_s); a candidate that is L times worse than that
makes it q1 = L r n_c / (L r n_c + n_s). The stake on L multiplies by

    e = (q1 / q0)^k_c * ((1 - q1) / (1 - q0))^k_s

This is Lindon and Malek, "Anytime-valid inference for multinomial count data" (NeurIPS 2022, arXiv 2011.03567), with a
mixture over a few L. It is exact for binomial counts too, not only for rare failures: with a = q1 / q0 >= 1 and
b = (1 - q1) / (1 - q0), E[e] = (1 + p_c (a - 1))^n_c (1 + p_s (b - 1))^n_s <= exp(p_c n_c (a - 1) + p_s n_s (b - 1)),
and this is at most exp(p_s (r n_c (a - 1) + n_s (b - 1))) = exp(0) since p_c <= r p_s and q0 a + (1 - q0) b = 1. So the
capital is a supermartingale, and Ville's inequality holds at every moment. A tolerance of t in shares of all requests on
top (p_c <= r p_s + t) adds at most exp(t n_c (a - 1)) to this bound, which is taken off the winnings. The test of the
other direction ("worse by the tolerance or more", p_c >= r p_s + t) is the same with the arms swapped and 1 / r; there t
adds exp(t n_c (1 - b)) to the winnings.

Units: counts of requests. What it does not do: it compares ratios, so 0.001 percent against 0.002 percent is a doubling;
with that few failures, however, it needs a great many requests to say so. Retries of one user are not independent
requests; a burst of them counts for more than it should.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

from pydantic import TypeAdapter

from serin_operator.api.v1alpha1 import Verdict
from serin_operator.decide.service.sequential.rule import Evidence, Judgement, Rule, bound, log_mean, log_sum, verdict

WORSE: Final = (1.6, 2.5, 4.0)
"""How many times worse than the border the bets on "worse" suppose. One bet on 4 finds 5 and 10 times as many failures as
surely as a bet on each of them would, and its stake need not be divided."""
SHARES: Final = (0.04, 0.04, 0.6)
"""How much of the capital is staked on each of them against "no worse": little on small increases, which take many requests
anyway. The rest is kept: the comparison of latency beside this one also fails some of the candidates that are no worse, and
both together should not fail more than `level`. Against "tolerable" all is staked, in equal parts."""
BETTER: Final = (1.3, 1.8, 3.0)
"""How many times better than the border the bets on "better" suppose."""
LEAST: Final = 10.0
"""Requests of each arm that an interval has. Where chance gave one arm seven requests and the other three, a failure says
less than where both have ten: at 1 request/s looks of 5 s, taken one by one, need a twentieth more requests."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Two counters of one arm, as the server tells them: requests, and those of them that failed."""

    requests: float
    failed: float


NONE: Final = Tally(0, 0)


@dataclass(frozen=True, slots=True)
class ErrorState:
    """All that a later look needs. Logarithms of capital by supposed ratio."""

    started_at: float
    """Seconds; any clock that also times the looks."""
    at: float | None = None
    """When the counters below were taken; None before the first look."""
    candidate: Tally = NONE
    stable: Tally = NONE
    candidate_seen: Tally = NONE
    """What was judged so far, over all intervals."""
    stable_seen: Tally = NONE
    no_worse: tuple[float, ...] = (0.0,) * len(WORSE)
    tolerable: tuple[float, ...] = (0.0,) * len(WORSE)
    intolerable: tuple[float, ...] = (0.0,) * len(BETTER)


def advance(state: ErrorState, rule: Rule, at: float, candidate: Tally, stable: Tally) -> ErrorState:
    """The state after a look at the counters. A look without news, or one that is older than the last, adds nothing."""
    if state.at is not None and at <= state.at:
        return state
    moved = replace(state, at=at, candidate=candidate, stable=stable)
    if state.at is None or state.at < state.started_at + rule.warm_up_seconds:
        return moved
    new_c, new_s = _increase(state.candidate, candidate), _increase(state.stable, stable)
    if new_c is None or new_s is None:
        return moved  # a counter fell: what happened in between is not known
    if min(new_c.requests, new_s.requests) < LEAST:
        return state  # the interval waits for more; when it ends is told by requests alone, so no bet knows more for it
    return replace(
        moved,
        candidate_seen=_sum(state.candidate_seen, new_c),
        stable_seen=_sum(state.stable_seen, new_s),
        no_worse=_won(state.no_worse, new_c, new_s, 1.0, WORSE),
        tolerable=_won(state.tolerable, new_c, new_s, rule.tolerated, WORSE, -rule.max_increase_share * new_c.requests),
        intolerable=_passing(state.intolerable, new_c, new_s, rule),
    )


def _increase(before: Tally, now: Tally) -> Tally | None:
    requests, failed = now.requests - before.requests, now.failed - before.failed
    return Tally(requests, failed) if 0 <= failed <= requests else None


def _sum(a: Tally, b: Tally) -> Tally:
    return Tally(a.requests + b.requests, a.failed + b.failed)


def _won(
    capital: tuple[float, ...], suspect: Tally, other: Tally, r: float, ratios: tuple[float, ...], allowed: float = 0.0
) -> tuple[float, ...]:
    """The logarithms of the stakes after an interval: see the top of this file. `allowed` weighs what a tolerance takes."""
    failed, border = suspect.failed + other.failed, r * suspect.requests
    found: list[float] = []
    for stake, ratio in zip(capital, ratios, strict=True):
        b = (border + other.requests) / (ratio * border + other.requests)
        found.append(stake + suspect.failed * math.log(ratio) + failed * math.log(b) + allowed * (ratio * b - 1))
    return tuple(found)


def _passing(capital: tuple[float, ...], candidate: Tally, stable: Tally, rule: Rule) -> tuple[float, ...]:
    """Bets that the stable's share of failures is above what an intolerable candidate would leave it."""
    r = 1 / rule.tolerated
    won, border = _won(capital, stable, candidate, r, BETTER), r * stable.requests
    spared = rule.max_increase_share * candidate.requests
    return tuple(
        stake + spared * (1 - (border + candidate.requests) / (ratio * border + candidate.requests))
        for stake, ratio in zip(won, BETTER, strict=True)
    )


def evidence(state: ErrorState) -> Evidence:
    no_worse = log_sum(math.log(share) + stake for share, stake in zip(SHARES, state.no_worse, strict=True))
    return Evidence(no_worse, log_mean(state.tolerable), log_mean(state.intolerable))


def judged(state: ErrorState, rule: Rule) -> Judgement:
    """The verdict, and what it rests on. Before the first interval is full it is Error: nothing was measured."""
    c, s = state.candidate_seen, state.stable_seen
    if not (c.requests and s.requests):
        return Judgement(
            Verdict.ERROR,
            f"failures cannot be compared: fewer than {LEAST:g} requests of candidate or stable were counted yet",
        )
    found = verdict(rule, evidence(state))
    return Judgement(found, f"{_numbers(c, s, rule)}: {_meaning(found, rule)}")


def _numbers(c: Tally, s: Tally, rule: Rule) -> str:
    """`5.1 % of 402 requests failed, 1.0 % of 398 on the stable (2.1 to 12 times as many, at 99 %)`."""
    low, high = ratio_bounds(c, s, rule.level)
    times = (
        f"{_times(low)} to {_times(high)} times as many" if high < math.inf else f"at least {_times(low)} times as many"
    )
    return (
        f"{c.failed / c.requests:.2%} of {c.requests:.0f} requests failed, {s.failed / s.requests:.2%} of"
        f" {s.requests:.0f} on the stable ({times}, with {rule.confidence} confidence)"
    )


def ratio_bounds(c: Tally, s: Tally, level: float) -> tuple[float, float]:
    """For people: where the ratio of the two shares lies. Half a failure is added to each, so none is not infinity."""
    estimate = math.log((c.failed + 0.5) / (c.requests + 0.5)) - math.log((s.failed + 0.5) / (s.requests + 0.5))
    width = bound(1 / (1 / (c.failed + 0.5) + 1 / (s.failed + 0.5)), level)
    return math.exp(estimate - width), math.exp(min(estimate + width, 700))


def _times(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 100 else f"{ratio:.0f}"


def _meaning(found: Verdict, rule: Rule) -> str:
    points = f" and {100 * rule.max_increase_share:g} points" if rule.max_increase_share else ""
    limit = f"{rule.max_increase_percent:g} %{points} more than the stable"
    if found is Verdict.FAILED:
        return f"more than the stable, and more than the tolerated {limit}"
    if found is Verdict.PASSED:
        return f"fewer than the limit of {limit}"
    return f"not enough to tell whether it is over the limit of {limit}"


_TEXT: Final = TypeAdapter(ErrorState)


def dumped(state: ErrorState) -> str:
    """The state as text, for a status."""
    return _TEXT.dump_json(state).decode()


def loaded(text: str) -> ErrorState:
    """The state that `dumped` wrote; ValueError when it is something else, such as that of another version."""
    state = _TEXT.validate_json(text)
    if (len(state.no_worse), len(state.tolerable), len(state.intolerable)) != (len(WORSE), len(WORSE), len(BETTER)):
        raise ValueError("the state of a comparison of errors that was made by another version")
    return state
