"""Shares by numbers of pods, where there is no gateway: how many of whom each step needs, and what that comes to.

A share is that of the candidate's pods among all. The stable keeps at least the pods that it needs to carry everything, and
both together have no more than `maxReplicas`; so some shares cannot be given, and what is given instead is never more than
was asked. Pure arithmetic and facts; not here: what is written (front.py), and what to do about a share (canary.py).
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import gcd

from serin_operator.decide.service.snapshot import Front, ServiceSnapshot
from serin_operator.decide.steps import steps_of
from serin_operator.manifests.front import EVERYBODY


@dataclass(frozen=True, slots=True)
class Split:
    """So many pods of each. `alone`: the candidate has as many as the stable, and gets everything."""

    stable: int
    candidate: int
    alone: bool = False

    @property
    def share(self) -> Fraction:
        return Fraction(1) if self.alone else Fraction(self.candidate, self.stable + self.candidate)


def by_pods(s: ServiceSnapshot) -> bool:
    return s.service.spec.traffic.by_pods


def full(s: ServiceSnapshot) -> int:
    """The pods that carry all requests."""
    return s.service.spec.runtime.replicas


def most(s: ServiceSnapshot) -> int:
    """The pods of stable and candidate together."""
    return s.service.spec.traffic.max_replicas or 2 * full(s)


def splits(s: ServiceSnapshot) -> tuple[Split | None, ...]:
    """For each step; None where no number of pods gives a share that is small enough, or is reached in small enough strides."""
    stride = s.limits.max_canary_step_percent if s.limits is not None else None
    return _splits(_asked(s), full(s), most(s), stride)


def _asked(s: ServiceSnapshot) -> tuple[int, ...]:
    return tuple(step.weight_percent for step in steps_of(s.service.spec.canary))


@lru_cache(maxsize=256)  # asked for several times in every look, and nearly always the same
def _splits(asked: tuple[int, ...], stable: int, pods: int, stride: int | None) -> tuple[Split | None, ...]:
    """A step that keeps the share of the one before keeps its pods. With a stride no share is further above the one before:
    what counts for the platform team is what users meet, not what was asked."""
    found: list[Split | None] = []
    before = Fraction(0)
    for number, percent in enumerate(asked):
        if number and percent == asked[number - 1]:
            found.append(found[-1])
            continue
        reach = before + Fraction(stride, 100) if stride is not None else Fraction(1)
        if percent >= 100:
            found.append(Split(stable, stable, alone=True) if reach >= 1 else None)
        else:
            found.append(_closest(min(Fraction(percent, 100), reach), stable, pods))
        before = found[-1].share if found[-1] is not None else before
    return tuple(found)


def _closest(target: Fraction, stable: int, pods: int) -> Split | None:
    """The largest share that is not above `target`, with the fewest pods that give it."""
    best: Split | None = None
    for total in range(stable + 1, pods + 1):
        candidate = min(total * target.numerator // target.denominator, total - stable)
        if candidate and (best is None or candidate * (best.stable + best.candidate) > best.candidate * total):
            best = Split(total - candidate, candidate)
    return best


def enough(s: ServiceSnapshot) -> int:
    """A `maxReplicas` with which every step gets exactly what it asks."""
    shares = [percent for percent in _asked(s) if 0 < percent < 100]
    return max((_exact(percent, full(s)) for percent in shares), default=2 * full(s))


def exact(s: ServiceSnapshot, percent: int) -> int:
    """Pods of both with which this share is given exactly."""
    return _exact(percent, full(s))


def _exact(percent: int, stable: int) -> int:
    unit = 100 // gcd(100, percent)
    least = -(-100 * stable // (100 - percent))
    return -(-least // unit) * unit


# --- what is there ------------------------------------------------------------------------------------------------


def front_of(s: ServiceSnapshot) -> Front | None:
    return s.route.front if s.route is not None else None


def open_to_all(s: ServiceSnapshot) -> bool:
    """Every pod of this service gets requests, whatever revision it runs."""
    front = front_of(s)
    return front is not None and front.selects == EVERYBODY


def strangers(s: ServiceSnapshot) -> list[str]:
    """Revisions beside stable and candidate that have pods, or may get some any moment: they would be behind the Service too."""
    both = {s.stable.revision if s.stable is not None else "", s.candidate.revision if s.candidate is not None else ""}
    front = front_of(s)
    there = {*s.servings, *(front.pods if front is not None else ())}
    return sorted(there - both)


def wanted(s: ServiceSnapshot, revision: str) -> int:
    """Pods that its Deployment is to have, as it is written now."""
    view = s.serving(revision)
    return view.wanted if view is not None else 0


def written(s: ServiceSnapshot) -> Fraction:
    """The candidate's share as it was last written: by whom the Service selects, and the numbers in the Deployments."""
    front = front_of(s)
    if front is None or s.stable is None or s.candidate is None:
        return Fraction(0)
    if front.selects == EVERYBODY:
        stable, candidate = wanted(s, s.stable.revision), wanted(s, s.candidate.revision)
        return Fraction(candidate, stable + candidate) if candidate else Fraction(0)
    return Fraction(front.selects == s.candidate.revision)


def in_place(s: ServiceSnapshot, split: Split) -> bool:
    """The Service selects whom this split is of, and the Deployments are to have its numbers of pods."""
    front = front_of(s)
    assert s.stable is not None
    assert s.candidate is not None
    if front is None or split.alone:
        return front is not None and front.selects == s.candidate.revision
    numbers = (wanted(s, s.stable.revision), wanted(s, s.candidate.revision))
    return front.selects == EVERYBODY and not strangers(s) and numbers == (split.stable, split.candidate)


def taken_up(s: ServiceSnapshot, split: Split) -> bool:
    """The EndpointSlices have these pods: all of the candidate's, no more of them, and no fewer of the stable's."""
    front = front_of(s)
    assert s.stable is not None
    assert s.candidate is not None
    if front is None or split.alone:
        return front is not None
    ready = front.ready
    return ready.get(s.candidate.revision, 0) == split.candidate and ready.get(s.stable.revision, 0) >= split.stable


def on_the_way(s: ServiceSnapshot, before: Split | None, to: Split) -> bool:
    """The pods are between those of a step and those of the next one."""
    if before is None or not open_to_all(s) or s.stable is None or s.candidate is None:
        return False
    stable, candidate = wanted(s, s.stable.revision), wanted(s, s.candidate.revision)
    return candidate >= min(before.candidate, to.candidate) and stable <= max(before.stable, to.stable)
