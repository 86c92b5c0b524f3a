"""The simulator: what Prometheus would have counted of a canary and of the stable beside it, every five seconds.

Requests arrive independently of each other (Poisson), their time to first token is log-normal, counted in vLLM's buckets.
Load noise multiplies all latencies of an arm for a while: an AR(1) of its logarithm, own for each arm. The candidate
starts cold. Everything comes from one seed.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

TICK_SECONDS: Final = 5
TICKS: Final = 360  # 30 minutes
WARM_UP_TICKS: Final = 12  # not judged by anybody
PAST_TICKS: Final = 720  # an hour of the stable alone
COLD_TICKS: Final = 12
COLD_TIMES: Final = 3.0
MEDIAN_SECONDS: Final = 0.2
LOG_SPREAD: Final = 0.6
ERRORS: Final = 0.01
EDGES: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
    *(160.0, 640.0, 2560.0),
)
"""Of vllm:time_to_first_token_seconds."""
RHO: Final = 0.9
STEP: Final = 0.1  # with RHO: a standard deviation of 0.23


@dataclass(frozen=True, slots=True)
class Traffic:
    """How many requests each arm gets in a second, and what the load is like."""

    name: str
    candidate: float
    stable: float
    noise_before: bool = False
    noise: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the candidate, from its first request on."""

    name: str
    slower: float = 1.0
    errors: float = ERRORS
    from_tick: int = 0


@dataclass(frozen=True, slots=True)
class Arm:
    """Counted in each tick, first axis runs: latencies by bucket (third axis), and failed requests."""

    buckets: Counts
    failed: Counts

    @property
    def requests(self) -> Counts:
        return self.buckets.sum(axis=2)


@dataclass(frozen=True, slots=True)
class Canaries:
    """Many canaries of one kind. `past` is the stable's before them, by bucket."""

    past: Counts
    stable: Arm
    candidate: Arm


def past(rng: np.random.Generator, traffic: Traffic, runs: int) -> Counts:
    """The hour before, when the stable had all the traffic."""
    return _buckets(rng, _noise(rng, runs, PAST_TICKS, traffic.noise_before), traffic.candidate + traffic.stable)


def simulated(rng: np.random.Generator, traffic: Traffic, fault: Fault, before: Counts) -> Canaries:
    """A canary after each hour of `before`."""
    runs = len(before)
    stable = _buckets(rng, _noise(rng, runs, TICKS, traffic.noise), traffic.stable)
    slow = np.zeros(TICKS)
    slow[fault.from_tick :] = np.log(fault.slower)
    slow[:COLD_TICKS] += np.log(COLD_TIMES)
    candidate = _buckets(rng, _noise(rng, runs, TICKS, traffic.noise) + slow, traffic.candidate)
    failing = np.where(np.arange(TICKS) >= fault.from_tick, fault.errors, ERRORS)
    return Canaries(
        before,
        Arm(stable, rng.binomial(stable.sum(axis=2), ERRORS)),
        Arm(candidate, rng.binomial(candidate.sum(axis=2), failing)),
    )


def _noise(rng: np.random.Generator, runs: int, ticks: int, noisy: bool) -> Values:
    load = np.zeros((runs, ticks))
    if noisy:
        steps = rng.normal(0, STEP, (runs, ticks))
        load[:, 0] = steps[:, 0] / np.sqrt(1 - RHO**2)
        for tick in range(1, ticks):
            load[:, tick] = RHO * load[:, tick - 1] + steps[:, tick]
    return load


def _buckets(rng: np.random.Generator, shift: Values, rate: float) -> Counts:
    requests = rng.poisson(rate * TICK_SECONDS, shift.shape)
    below = _normal((np.log(EDGES) - np.log(MEDIAN_SECONDS) - shift[:, :, None]) / LOG_SPREAD)
    edges = np.concatenate([np.zeros((*shift.shape, 1)), below, np.ones((*shift.shape, 1))], axis=2)
    return rng.multinomial(requests, np.diff(edges, axis=2))


_STEPS: Final = np.linspace(-8, 8, 32001)
_DENSITY: Final = np.exp(-_STEPS * _STEPS / 2)
_AREA: Final = np.concatenate([[0.0], np.cumsum((_DENSITY[1:] + _DENSITY[:-1]) / 2)])


def _normal(x: Values) -> Values:
    """The normal distribution function: numpy has none."""
    return np.interp(x, _STEPS, _AREA / _AREA[-1])
