"""What Serin decides: the operator's own `decide.service.sequential`, for many canaries at once.

The operator's module is plain Python for one canary; here is the same arithmetic on arrays, with the operator's own
constants. `tests/unit/benchmarks` holds the two together: same traces, same evidence, same verdicts at every look.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from serin_operator.decide.service.sequential import errors, hard, latency
from serin_operator.decide.service.sequential.rule import Rule

from canaries.traffic import EDGES, TICK_SECONDS, TICKS, WARM_UP_TICKS, Arm, Canaries, Counts, Values

RULE: Final = Rule(warm_up_seconds=WARM_UP_TICKS * TICK_SECONDS)
_MIDDLES: Final = np.array(latency.middles(EDGES))


@dataclass(frozen=True, slots=True)
class Evidence:
    """By run, three e-processes (their logarithms) after each tick; see the operator's `rule.Evidence`."""

    no_worse: Values
    tolerable: Values
    intolerable: Values

    def failed(self, rule: Rule) -> npt.NDArray[np.bool_]:
        return (self.no_worse >= -np.log(rule.level)) & (self.tolerable >= -np.log(rule.tolerance_level))

    def passed(self, rule: Rule) -> npt.NDArray[np.bool_]:
        return (self.intolerable >= -np.log(rule.level)) & ~self.failed(rule)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Of a block: requests, and log latencies and their squares added up."""

    n: Values
    x: Values
    xx: Values

    @classmethod
    def counted(cls, buckets: Counts) -> "_Sums":
        return cls(buckets.sum(axis=-1).astype(float), buckets @ _MIDDLES, buckets @ _MIDDLES**2)

    def at(self, tick: int) -> "_Sums":
        return _Sums(self.n[:, tick], self.x[:, tick], self.xx[:, tick])

    def of(self, runs: npt.NDArray[np.int64], tick: int) -> "_Sums":
        return _Sums(self.n[runs, tick], self.x[runs, tick], self.xx[runs, tick])

    def kept(self, runs: npt.NDArray[np.bool_]) -> "_Sums":
        return _Sums(self.n[runs], self.x[runs], self.xx[runs])

    def plus(self, other: "_Sums") -> "_Sums":
        return _Sums(self.n + other.n, self.x + other.x, self.xx + other.xx)

    def but_where(self, done: npt.NDArray[np.bool_]) -> "_Sums":
        return _Sums(*(np.where(done, 0.0, values) for values in (self.n, self.x, self.xx)))

    @property
    def mean(self) -> Values:
        return self.x / np.maximum(self.n, 1)

    @property
    def squares(self) -> Values:
        return np.maximum(self.xx - self.x * self.mean, 0)


class _Tracks:
    """The Kalman filters, second axis; see the operator's `latency.Track`."""

    def __init__(self, weight: Values, tau: Values, memory: Values, arms: int) -> None:
        self.weight, self.memory = weight, memory
        self.stationary = arms * tau**2
        self.noise, self.gain, self.fit, self.push, self.mass = (np.zeros(tau.shape) for _ in range(5))
        self.variance = self.stationary.copy()

    def step(self, now: npt.NDArray[np.bool_], seconds: Values, observed: Values, sampling: Values) -> None:
        """Only the runs for which it is time. Before the first block, noise and gain are 0 and the variance stationary."""
        rho = np.exp(-seconds[:, None] / self.memory)
        noise, gain = rho * self.noise, rho * self.gain
        variance = rho * rho * self.variance + (1 - rho * rho) * self.stationary
        total = variance + sampling[:, None]
        share, surprise, lever = variance / total, observed[:, None] - noise, 1 - gain
        do = 1.0 if now.all() else now[:, None].astype(float)  # runs whose block is not full stay as they are
        self.noise += do * (noise + share * surprise - self.noise)
        self.gain += do * (gain + share * lever - self.gain)
        self.variance += do * (variance * (1 - share) - self.variance)
        self.fit -= do * ((np.log(total) + surprise * surprise / total) / 2)
        self.push += do * (surprise * lever / total)
        self.mass += do * (lever * lever / total)

    def keep(self, runs: npt.NDArray[np.bool_]) -> None:
        for name in ("weight", "memory", "stationary", "noise", "gain", "fit", "push", "mass", "variance"):
            setattr(self, name, getattr(self, name)[runs])

    def against(self, border: float, bets: Sequence[latency.Bet]) -> Values:
        effects, shares = np.array([bet.effect for bet in bets]), np.array([bet.share for bet in bets])
        at_border = self.weight + self.fit + self.push * border - self.mass * border**2 / 2
        drift = self.push - self.mass * border
        stakes = drift[:, :, None] * effects - self.mass[:, :, None] * (effects**2 / 2) + np.log(shares)
        return _log_sum(at_border + _log_sum(stakes)) - _log_sum(at_border)


def _log_sum(values: Values) -> Values:
    """Over the last axis."""
    top = values.max(axis=-1, keepdims=True)
    return (top + np.log(np.exp(values - top).sum(axis=-1, keepdims=True)))[..., 0]


def _square(squares: Values, freedom: Values) -> Values:
    return (squares + latency.PRIOR_REQUESTS * latency.PRIOR_SPREAD**2) / (freedom + latency.PRIOR_REQUESTS)


def _columns(rows: Sequence[tuple[float, float]]) -> tuple[Values, Values]:
    return np.array([tau for tau, _ in rows]), np.array([memory for _, memory in rows])


def _learned(past: _Sums, square: Values) -> tuple[Values, Values, Values]:
    """Weights, standard deviations and memories of the tracks that are kept."""
    runs, ticks = past.n.shape
    tau, memory = (np.broadcast_to(column, (runs, len(latency.GRID))) for column in _columns(latency.GRID))
    tracks = _Tracks(np.zeros(tau.shape), tau, memory, 1)
    idle = np.zeros(runs)
    for tick in range(ticks):
        block = past.at(tick)
        idle += TICK_SECONDS
        now = block.n > 0
        tracks.step(now, idle, block.mean, square / np.maximum(block.n, 1))
        idle[now] = 0
    fits = tracks.fit + tracks.push**2 / tracks.mass / 2 - np.log(tracks.mass) / 2
    best = np.argsort(-fits, axis=1, kind="stable")[:, : latency.KEPT]
    kept = np.take_along_axis(fits, best, axis=1)
    weight = kept - _log_sum(kept)[:, None] + np.log1p(-latency.UNSEEN_WEIGHT)
    unseen = np.full((runs, len(latency.UNSEEN)), np.log(latency.UNSEEN_WEIGHT / len(latency.UNSEEN)))
    more_tau, more_memory = (np.broadcast_to(column, unseen.shape) for column in _columns(latency.UNSEEN))
    return (
        np.concatenate([weight, unseen], axis=1),
        np.concatenate([np.take_along_axis(tau, best, axis=1), more_tau], axis=1),
        np.concatenate([np.take_along_axis(memory, best, axis=1), more_memory], axis=1),
    )


@dataclass(frozen=True, slots=True)
class Known:
    """What the stable's past tells about each canary: how its latencies spread, and load noise (see `latency.learned`)."""

    squares: Values
    freedom: Values
    weight: Values
    tau: Values
    memory: Values


def known(past: Counts) -> Known:
    sums = _Sums.counted(past)
    squares, freedom = sums.squares.sum(axis=1), np.maximum(sums.n - 1, 0).sum(axis=1)
    return Known(squares, freedom, *_learned(sums, _square(squares, freedom)))


def nothing_known(runs: int) -> Known:
    tau, memory = (
        np.broadcast_to(np.array(column), (runs, len(latency.WITHOUT_PAST)))
        for column in _columns(latency.WITHOUT_PAST)
    )
    return Known(np.zeros(runs), np.zeros(runs), np.full(tau.shape, -np.log(len(latency.WITHOUT_PAST))), tau, memory)


def of_latency(
    canaries: Canaries, knowing: Known, rule: Rule = RULE, until: npt.NDArray[np.int64] | None = None
) -> Evidence:
    """After each tick; not of ticks beyond `until`, when another rule has decided, nor beyond the first failure."""
    runs = len(canaries.past)
    until = np.full(runs, TICKS) if until is None else until
    found = np.zeros((3, runs, TICKS))
    found[2] = -np.inf
    all_c, all_s = _Sums.counted(canaries.candidate.buckets), _Sums.counted(canaries.stable.buckets)
    alive = np.arange(runs)
    looks = _Looks(knowing, rule)
    for tick in range(WARM_UP_TICKS, TICKS):
        open_ = until[alive] >= tick
        if tick % _COMPACT_TICKS == 0:
            looks.keep(open_)
            alive = alive[open_]
        if not len(alive):
            break
        looks.look(all_c.of(alive, tick), all_s.of(alive, tick))
        found[:, alive, tick] = now = looks.evidence()
        bad = Evidence(*now).failed(rule)
        until[alive[bad]] = np.minimum(until[alive[bad]], tick)
    return Evidence(*found)


_COMPACT_TICKS: Final = 6


class _Looks:
    """The operator's `latency.LatencyState` of many canaries."""

    def __init__(self, knowing: Known, rule: Rule) -> None:
        self.squares, self.freedom = knowing.squares, knowing.freedom
        self.tracks = _Tracks(knowing.weight, knowing.tau, knowing.memory, 2)
        self.limit = float(np.log(rule.tolerated))
        runs = len(self.squares)
        self.own_squares, self.own_freedom, self.idle = np.zeros(runs), np.zeros(runs), np.zeros(runs)
        self.c = self.s = _Sums(np.zeros(runs), np.zeros(runs), np.zeros(runs))

    def keep(self, runs: npt.NDArray[np.bool_]) -> None:
        if not runs.all():
            for name in ("squares", "freedom", "own_squares", "own_freedom", "idle"):
                setattr(self, name, getattr(self, name)[runs])
            self.c, self.s = self.c.kept(runs), self.s.kept(runs)
            self.tracks.keep(runs)

    def look(self, c: _Sums, s: _Sums) -> None:
        c, s, self.idle = self.c.plus(c), self.s.plus(s), self.idle + TICK_SECONDS
        now = (c.n > 0) & (s.n > 0)
        square_s = _square(self.squares, self.freedom)
        square_c = (self.own_squares + latency.ARM_REQUESTS * square_s) / (self.own_freedom + latency.ARM_REQUESTS)
        sampling = square_c / np.maximum(c.n, 1) + square_s / np.maximum(s.n, 1)
        self.tracks.step(now, self.idle, c.mean - s.mean, sampling)
        self.squares, self.freedom = self.squares + now * s.squares, self.freedom + now * (s.n - 1)
        self.own_squares, self.own_freedom = self.own_squares + now * c.squares, self.own_freedom + now * (c.n - 1)
        self.c, self.s, self.idle = c.but_where(now), s.but_where(now), np.where(now, 0.0, self.idle)

    def evidence(self) -> Values:
        return np.stack(
            [
                self.tracks.against(0.0, latency.WORSE),
                self.tracks.against(self.limit, latency.BEYOND),
                self.tracks.against(self.limit, latency.BETTER),
            ]
        )


def of_errors(canaries: Canaries, rule: Rule = RULE) -> Evidence:
    c, s = _paired(canaries.candidate, canaries.stable)
    taken, spared = -rule.max_increase_share * c[0], rule.max_increase_share * c[0]
    return Evidence(
        _capital(c, s, 1.0, errors.WORSE, errors.SHARES),
        _capital(c, s, rule.tolerated, errors.WORSE, _equal(errors.WORSE), taken=taken),
        _capital(s, c, 1 / rule.tolerated, errors.BETTER, _equal(errors.BETTER), spared=spared),
    )


def _equal(bets: Sequence[float]) -> tuple[float, ...]:
    return (1 / len(bets),) * len(bets)


def _paired(candidate: Arm, stable: Arm) -> tuple[tuple[Values, Values], tuple[Values, Values]]:
    """(requests, failed) of each arm by tick after the warm-up, moved on to the tick at which both had enough requests."""
    source = np.stack([candidate.requests, candidate.failed, stable.requests, stable.failed]).astype(float)
    moved, waiting = np.zeros_like(source), np.zeros_like(source[:, :, 0])
    for tick in range(WARM_UP_TICKS, TICKS):
        waiting = waiting + source[:, :, tick]
        now = np.minimum(waiting[0], waiting[2]) >= errors.LEAST
        moved[:, :, tick] = np.where(now, waiting, 0)
        waiting = np.where(now, 0, waiting)
    return (moved[0], moved[1]), (moved[2], moved[3])


def _capital(
    suspect: tuple[Values, Values],
    other: tuple[Values, Values],
    r: float,
    ratios: Sequence[float],
    shares: Sequence[float],
    taken: Values | float = 0.0,
    spared: Values | float = 0.0,
) -> Values:
    border, failed = r * suspect[0], suspect[1] + other[1]
    stakes: list[Values] = []
    for ratio in ratios:
        b = np.maximum(border + other[0], 1) / np.maximum(ratio * border + other[0], 1)
        won = suspect[1] * np.log(ratio) + failed * np.log(b) + taken * (ratio * b - 1) + spared * (1 - b)
        stakes.append(np.cumsum(won, axis=1))
    return _log_sum(np.stack(stakes, axis=-1) + np.log(shares))


def of_hard(canaries: Canaries) -> npt.NDArray[np.bool_]:
    """After each tick: do the last two polls show a failure that needs no statistics?"""
    n, k = canaries.candidate.requests, canaries.candidate.failed
    runs = len(n)
    last_n, last_k, found = np.zeros(runs), np.zeros(runs), np.zeros((runs, TICKS), dtype=bool)
    shown = np.zeros(runs, dtype=bool)
    for tick in range(WARM_UP_TICKS, TICKS):
        new_n, new_k = n[:, tick], k[:, tick]
        both_n, both_k = last_n + new_n, last_k + new_k
        verdict = (new_k > 0) & (last_k > 0) & (both_n >= hard.MIN_REQUESTS) & (both_k > both_n / 2)
        shown = np.where(new_n > 0, verdict, shown)
        last_n, last_k = np.where(new_n > 0, new_n, last_n), np.where(new_n > 0, new_k, last_k)
        found[:, tick] = shown
    return found
