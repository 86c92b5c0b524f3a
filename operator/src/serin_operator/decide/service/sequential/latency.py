"""Latency of the candidate against that of the stable at the same time, from histogram buckets, under load noise.

What is compared is the typical latency: the geometric mean, each request counted at the (logarithmic) middle of its
bucket. Buckets bound what one request can do, so a heavy tail does no harm; and it takes buckets no wider than about the
spread of the latencies themselves, which vLLM's are (see `trouble`). A tail that grows while the middle stays is the
business of a fixed bound on a high quantile, which should stand beside this. Compare time to first token or time per
output token, never whole requests: answers differ in length.

Null hypothesis: log(candidate / stable) <= log(r) on average over load noise. The unit is a block of `BLOCK_SECONDS`:

    d_t = mean log latency of the candidate - that of the stable = theta + z_t + e_t
    e_t = error of sampling, variance s_c^2 / n_c + s_s^2 / n_s, the spread known from within the blocks
    z_t = load noise, different on each arm and correlated in time: an AR(1) (Ornstein-Uhlenbeck) process with standard
          deviation tau on each arm and correlation exp(-seconds / memory)

A test that takes requests or blocks for independent is fooled by z: a naive anytime-valid test rolls back a third of the
healthy canaries. So (tau, memory) is not assumed away but *learned from the stable's own recent past* (`learned`): its
posterior on a grid weighs a handful of `Track`s, each a Kalman filter that gives the exact likelihood of d_1..d_t as a
function of theta. The bet mixes over tracks and over a few effects above the border, against the border itself:

    e-process = sum_g w_g sum_j share_j L_g(d_1..d_t; log r + effect_j)   /   sum_g w_g L_g(d_1..d_t; log r)

With known noise this is a nonnegative martingale on the border and a supermartingale inside of the null (the likelihood
ratio is monotone in theta), hence valid at every moment (Robbins; Howard and Ramdas, arXiv 1810.08240; for canaries
Lindon, Sanden, Shirikian, KDD 2022, arXiv 2205.14762). With noise known only by its posterior it is valid on average over
that posterior, not for the worst case; a hundredth of the weight stays on noise that the past did not show, so that a
load that becomes restless slows the test instead of fooling it. How well this holds is measured, not proved:
`make bench-decisions`. Without a past, wide weights are used and everything takes longer.

Units: seconds for moments and buckets' edges, natural logarithms of seconds for latencies.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, NamedTuple

from pydantic import TypeAdapter

from serin_operator.api.v1alpha1 import Verdict
from serin_operator.decide.service.sequential.rule import Evidence, Judgement, Rule, bound, log_sum, verdict

BLOCK_SECONDS: Final = 5.0
"""Nothing is judged more often; a block is longer when looks or requests are rarer."""


class Bet(NamedTuple):
    """A part of what is staked against a border."""

    effect: float
    """How far beyond the border it supposes the candidate to be."""
    share: float
    """Of the whole stake. A bet that was right has cost log(1 / share) of evidence."""


def _bets(likeliest: float, share: float) -> tuple[Bet, ...]:
    """Most of the stake on one ratio, the rest in equal parts on a ladder whose steps are fine enough for many requests: when
    they tell the ratio exactly, one between two steps fits neither, and then load noise seems to explain it as well."""
    parts = {likeliest: share} | dict.fromkeys(_LADDER, (1 - share) / len(_LADDER))
    return tuple(Bet(math.log(ratio), part) for ratio, part in parts.items())


_LADDER: Final = (1.08, 1.16, 1.25, 1.36, 1.5, 1.85, 2.1, 2.4, 2.8, 3.3, 4.0, 5.0)
WORSE: Final = _bets(1.65, 0.9)
"""Against "no worse". Most is somewhat short of a doubled latency, which is to be found soon under load noise too: what is much
worse is found soon by any bet, and what is a little worse late by all of them."""
BEYOND: Final = _bets(1.45, 0.6)
"""Against "worse, but within the tolerance"; from there it is not so far to a doubled latency."""
BETTER: Final = tuple(Bet(-effect, 1 / 3) for effect in (0.1, 0.2, 0.35))
"""Against "worse by the tolerance or more": on the good side of that border."""

TAUS: Final = (0.03, 0.045, 0.064, 0.09, 0.127, 0.18, 0.254, 0.36, 0.51)
MEMORIES: Final = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
GRID: Final = ((0.0, 1.0), *((tau, memory) for tau in TAUS for memory in MEMORIES))
"""Load noise that is thought possible: (log standard deviation, seconds of memory)."""
KEPT: Final = 12
"""Tracks that are kept of the grid after learning: the rest has next to no weight."""
UNSEEN: Final = ((0.127, 40.0), (0.254, 40.0), (0.254, 160.0), (0.51, 80.0))
UNSEEN_WEIGHT: Final = 0.01
"""What is put on noise that the past did not show. Twice as much is three false rollbacks fewer of 3,000, and takes 5 requests/s
four times as long to find a doubled latency in one canary of 20."""
WITHOUT_PAST: Final = (
    (0.0, 1.0),
    (0.064, 40.0),
    (0.127, 20.0),
    (0.127, 80.0),
    (0.254, 20.0),
    (0.254, 80.0),
    (0.36, 160.0),
)
PRIOR_SPREAD: Final = 0.7
PRIOR_REQUESTS: Final = 10.0
"""The spread of log latencies within a block, before requests tell: as if so many had been seen with it."""
ARM_REQUESTS: Final = 30.0
"""The candidate's own spread is believed in so far as it has more requests than this."""


@dataclass(frozen=True, slots=True)
class Counts:
    """A histogram's counters since its server started, one for each bucket by itself."""

    edges: tuple[float, ...]
    """Upper edges in seconds, ascending, without +Inf."""
    counts: tuple[float, ...]
    """Requests in each bucket, one more than edges: the last is beyond all of them."""

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in pairwise(self.edges))
        if len(self.edges) < 2 or len(self.counts) != len(self.edges) + 1 or self.edges[0] <= 0 or not ascending:
            raise ValueError("a histogram needs two or more ascending edges above 0, and one more count than edges")

    @classmethod
    def of_le(cls, by_edge: Sequence[tuple[float, float]]) -> "Counts":
        """From Prometheus' form, where a bucket `le` counts everything up to its edge, `+Inf` included."""
        ordered = sorted(by_edge)
        if not ordered or not math.isinf(ordered[-1][0]):
            raise ValueError("a histogram needs its +Inf bucket")
        below = [0.0, *(count for _, count in ordered)]
        return cls(tuple(edge for edge, _ in ordered[:-1]), tuple(b - a for a, b in pairwise(below)))


@dataclass(frozen=True, slots=True)
class Block:
    """What an arm did in a block: how many requests, their mean log latency, and the sum of squares around it."""

    requests: float
    mean: float
    squares: float


class Track(NamedTuple):
    """A Kalman filter for one supposed load noise. The log likelihood of theta is fit + push theta - mass theta^2 / 2."""

    weight: float
    """Logarithm of its weight before the first block."""
    tau: float
    memory: float
    noise: float = 0.0
    """The noise that is expected now if theta is 0 ..."""
    gain: float = 0.0
    """... less so much of it for each unit of theta."""
    variance: float | None = None
    """Of that expectation; None before the first block."""
    fit: float = 0.0
    push: float = 0.0
    mass: float = 0.0


@dataclass(frozen=True, slots=True)
class Spread:
    """Squares within blocks, and how many requests beyond the first of each block they come from."""

    squares: float = 0.0
    freedom: float = 0.0


@dataclass(frozen=True, slots=True)
class LatencyState:
    """All that a later look needs."""

    started_at: float
    """Seconds; any clock that also times the looks."""
    tracks: tuple[Track, ...]
    spread: Spread
    """Of the stable, its past included."""
    candidate_spread: Spread = Spread()
    at: float | None = None
    """When the counters below were taken; None before the first look."""
    edges: tuple[float, ...] = ()
    candidate: tuple[float, ...] = ()
    stable: tuple[float, ...] = ()
    block_at: float | None = None
    """When the last judged block ended."""
    candidate_seen: tuple[float, ...] = ()
    """Requests that were judged, by bucket."""
    stable_seen: tuple[float, ...] = ()


# --- the noise, from the stable's past ------------------------------------------------------------------------------


def started(at: float, past: Sequence[tuple[float, Counts]] = ()) -> LatencyState:
    """The state at the start of a comparison. `past`: the stable's counters at moments before it, some BLOCK_SECONDS apart."""
    blocks = _blocks(past)
    spread = Spread()
    for _, block in blocks:
        spread = _wider(spread, block)
    return LatencyState(started_at=at, tracks=learned(blocks, spread), spread=spread)


def _blocks(past: Sequence[tuple[float, Counts]]) -> list[tuple[float, Block]]:
    found: list[tuple[float, Block]] = []
    for (_, before), (at, now) in pairwise(past):
        new = _increase(before.counts, now.counts) if before.edges == now.edges else None
        if new is not None and sum(new):
            found.append((at, block_of(now.edges, new)))
    return found


def learned(past: Sequence[tuple[float, Block]], spread: Spread) -> tuple[Track, ...]:
    """Tracks weighed by how well each noise explains the stable's own blocks; its level is not known, and integrated out."""
    if len(past) < 2:
        return tuple(Track(-math.log(len(WITHOUT_PAST)), tau, memory) for tau, memory in WITHOUT_PAST)
    sampling = _square(spread)
    tracks = [Track(0.0, tau, memory) for tau, memory in GRID]
    before = past[0][0]
    for at, block in past:
        tracks = [_stepped(track, at - before, block.mean, sampling / block.requests, 1) for track in tracks]
        before = at
    fits = [(t.fit + t.push**2 / t.mass / 2 - math.log(t.mass) / 2, t.tau, t.memory) for t in tracks]
    best = sorted(fits, reverse=True)[:KEPT]
    whole = log_sum(fit for fit, _, _ in best) - math.log1p(-UNSEEN_WEIGHT)
    rest = math.log(UNSEEN_WEIGHT / len(UNSEEN))
    return (
        *(Track(fit - whole, tau, memory) for fit, tau, memory in best),
        *(Track(rest, tau, memory) for tau, memory in UNSEEN),
    )


def _stepped(track: Track, seconds: float, observed: float, sampling: float, arms: int) -> Track:
    """A Kalman step over `seconds`, then the observation: noise of so many arms, theta and an error of sampling."""
    stationary = arms * track.tau**2
    if track.variance is None:
        noise, gain, variance = 0.0, 0.0, stationary
    else:
        rho = math.exp(-seconds / track.memory)
        noise, gain = rho * track.noise, rho * track.gain
        variance = rho * rho * track.variance + (1 - rho * rho) * stationary
    total = variance + sampling
    share, surprise, lever = variance / total, observed - noise, 1 - gain
    return track._replace(
        noise=noise + share * surprise,
        gain=gain + share * lever,
        variance=variance * (1 - share),
        fit=track.fit - (math.log(total) + surprise * surprise / total) / 2,
        push=track.push + surprise * lever / total,
        mass=track.mass + lever * lever / total,
    )


# --- looks ----------------------------------------------------------------------------------------------------------


def advance(state: LatencyState, rule: Rule, at: float, candidate: Counts, stable: Counts) -> LatencyState:
    """The state after a look at both histograms. A look without news, or one that is older than the last, adds nothing."""
    if state.at is not None and at <= state.at:
        return state
    moved = replace(state, at=at, edges=candidate.edges, candidate=candidate.counts, stable=stable.counts)
    same = state.edges == candidate.edges == stable.edges
    if state.at is None or not same or state.at < state.started_at + rule.warm_up_seconds:
        return moved
    new_c, new_s = _increase(state.candidate, candidate.counts), _increase(state.stable, stable.counts)
    if new_c is None or new_s is None:
        return moved  # a counter fell: what happened in between is not known
    if at - state.at < BLOCK_SECONDS or not (sum(new_c) and sum(new_s)):
        return state  # the block is not full
    return _with_block(moved, at, new_c, new_s)


def _increase(before: Sequence[float], now: Sequence[float]) -> tuple[float, ...] | None:
    new = tuple(b - a for a, b in zip(before, now, strict=True))
    return new if min(new) >= 0 else None


def _with_block(state: LatencyState, at: float, new_c: tuple[float, ...], new_s: tuple[float, ...]) -> LatencyState:
    c, s = block_of(state.edges, new_c), block_of(state.edges, new_s)
    square_s = _square(state.spread)
    own = state.candidate_spread
    square_c = (own.squares + ARM_REQUESTS * square_s) / (own.freedom + ARM_REQUESTS)
    sampling = square_c / c.requests + square_s / s.requests
    seconds = at - (state.block_at if state.block_at is not None else at)
    return replace(
        state,
        tracks=tuple(_stepped(track, seconds, c.mean - s.mean, sampling, 2) for track in state.tracks),
        spread=_wider(state.spread, s),
        candidate_spread=_wider(own, c),
        block_at=at,
        candidate_seen=_added(state.candidate_seen, new_c),
        stable_seen=_added(state.stable_seen, new_s),
    )


def middles(edges: Sequence[float]) -> tuple[float, ...]:
    """The log latency that each bucket's requests are counted at; the outermost are as wide as their neighbours."""
    logs = [math.log(edge) for edge in edges]
    inner = [(a + b) / 2 for a, b in pairwise(logs)]
    return (logs[0] - (logs[1] - logs[0]) / 2, *inner, logs[-1] + (logs[-1] - logs[-2]) / 2)


def block_of(edges: Sequence[float], counts: Sequence[float]) -> Block:
    total, values = sum(counts), middles(edges)
    mean = sum(n * x for n, x in zip(counts, values, strict=True)) / total
    return Block(total, mean, sum(n * (x - mean) ** 2 for n, x in zip(counts, values, strict=True)))


def _wider(spread: Spread, block: Block) -> Spread:
    return Spread(spread.squares + block.squares, spread.freedom + block.requests - 1)


def _square(spread: Spread) -> float:
    return (spread.squares + PRIOR_REQUESTS * PRIOR_SPREAD**2) / (spread.freedom + PRIOR_REQUESTS)


def _added(seen: tuple[float, ...], new: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(a + b for a, b in zip(seen, new, strict=True)) if len(seen) == len(new) else new


# --- the verdict ----------------------------------------------------------------------------------------------------


def evidence(state: LatencyState, rule: Rule) -> Evidence:
    limit = math.log(rule.tolerated)
    return Evidence(
        no_worse=_against(state.tracks, 0.0, WORSE),
        tolerable=_against(state.tracks, limit, BEYOND),
        intolerable=_against(state.tracks, limit, BETTER),
    )


def _against(tracks: Sequence[Track], border: float, bets: Sequence[Bet]) -> float:
    """The logarithm of the e-process against theta on the border."""
    at_border = [t.weight + t.fit + t.push * border - t.mass * border**2 / 2 for t in tracks]
    beyond = [
        fit
        + log_sum(
            math.log(bet.share) + (t.push - t.mass * border) * bet.effect - t.mass * bet.effect**2 / 2 for bet in bets
        )
        for t, fit in zip(tracks, at_border, strict=True)
    ]
    return log_sum(beyond) - log_sum(at_border)


def judged(state: LatencyState, rule: Rule) -> Judgement:
    """The verdict, and what it rests on. Error: nothing was measured, or the buckets cannot tell."""
    if state.block_at is None:
        return Judgement(
            Verdict.ERROR, "latency cannot be compared: no requests of candidate and stable were timed yet"
        )
    if problem := trouble(state.edges, state.stable_seen):
        return Judgement(Verdict.ERROR, problem)
    found = verdict(rule, evidence(state, rule))
    return Judgement(found, f"{_numbers(state, rule)}: {_meaning(found, rule)}")


def trouble(edges: Sequence[float], seen: Sequence[float]) -> str:
    """Why the buckets cannot show a change, if so: nearly all of the stable's requests are in one of them, or beyond the last."""
    share = max(seen) / sum(seen)
    at = seen.index(max(seen))
    if share >= _ONE_BUCKET:
        low, high = (0.0, *edges)[at], (*edges, math.inf)[at]
        return (
            f"latency cannot be compared: {share:.0%} of the stable's requests are in one bucket ({low:g} to {high:g} s);"
            " the histogram needs finer buckets there"
        )
    return ""


_ONE_BUCKET: Final = 0.9


def _numbers(state: LatencyState, rule: Rule) -> str:
    """`latency is 1.96 times that of the stable (1.55 to 2.48 with 99 % confidence) in 62 requests against 59`."""
    ratio, low, high = ratio_bounds(state, rule.level)
    return (
        f"typical latency is {ratio:.2f} times that of the stable ({low:.2f} to {high:.2f} with {rule.confidence}"
        f" confidence), over {sum(state.candidate_seen):.0f} requests against {sum(state.stable_seen):.0f}"
    )


def ratio_bounds(state: LatencyState, level: float) -> tuple[float, float, float]:
    """For people: the ratio and where it lies, under the noise that explains best what was seen."""
    track = max(state.tracks, key=lambda t: t.weight + t.fit + t.push**2 / t.mass / 2 - math.log(t.mass) / 2)
    theta, width = track.push / track.mass, bound(track.mass, level)
    return math.exp(theta), math.exp(theta - width), math.exp(min(theta + width, 700))


def _meaning(found: Verdict, rule: Rule) -> str:
    limit = f"{rule.max_increase_percent:g} %"
    if found is Verdict.FAILED:
        return f"slower than the stable, and by more than the tolerated {limit}"
    if found is Verdict.PASSED:
        return f"not slower by {limit}"
    return f"too noisy to tell whether it is slower by more than {limit}"


_TEXT: Final = TypeAdapter(LatencyState)


def dumped(state: LatencyState) -> str:
    """The state as text, for a status: about 3 KB."""
    return _TEXT.dump_json(state).decode()


def loaded(text: str) -> LatencyState:
    """The state that `dumped` wrote; ValueError when it is something else, such as that of another version."""
    state = _TEXT.validate_json(text)
    if not state.tracks or len(state.candidate) != len(state.stable):
        raise ValueError("not the state of a comparison of latency: parts of it are missing")
    return state
