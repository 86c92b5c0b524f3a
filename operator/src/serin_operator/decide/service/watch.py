"""How long something was watched under traffic: counted from look to look, and kept in status.

A difference of two clock readings is not time that anybody watched: the clock may have been set in between, or the
operator been away. So each look adds what passed since the last one, as far as that can be believed. Not here: what follows from it.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from serin_operator.api.v1alpha1 import BakeStatus, CandidateStatus, SloCounts, Watched
from serin_operator.decide.service.snapshot import Compared, Failing

OnTrial = CandidateStatus | BakeStatus
W = TypeVar("W", bound=OnTrial)

_NOTHING: Final[dict[str, Any]] = {
    "looked_at": None,
    "elapsed_seconds": 0,
    "watched_seconds": 0,
    "passing_seconds": 0,
    "blind_seconds": 0,
    "not_ready_seconds": 0,
    "last_crash_at": None,
    "counts": [],
    "polls": [],
}


def passed(last: datetime | None, now: datetime, usual: int, late: int = 0) -> int:
    """Whole seconds that a look adds, when one comes each `usual` seconds and may be late by as many and `late` more.

    Nothing when the clock went back; one usual wait when more passed than can be believed. So a clock that is set, and
    an operator that was away, are wrong by one look at most. Both times are cut off, so that rounding never adds up.
    """
    if last is None:
        return 0
    seconds = max(int(now.timestamp()) - int(last.timestamp()), 0)
    return seconds if seconds <= 2 * usual + late else usual


def started_at(status: OnTrial) -> datetime | None:
    """When the watch began; None while the route is not in force."""
    return status.started_at if isinstance(status, BakeStatus) else status.step_started_at


def stopped(status: W) -> W:
    """The watch is over and begins at 0 when the route is in force again."""
    return status.model_copy(update={**_nothing(status), _start_of(status): None})


def begun(status: W, now: datetime, last_crash_at: datetime | None) -> W:
    """The route is in force: the watch begins."""
    return status.model_copy(
        update={**_nothing(status), _start_of(status): now, "looked_at": now, "last_crash_at": last_crash_at}
    )


def counted(status: W, now: datetime, interval: int, measured: bool, good: bool, slowest_look: int) -> W:
    """After a look at the metrics. `good`: every SLO passed. Blind looks may wait for an answer until it is given up: that
    time is blind, too."""
    seconds = passed(status.looked_at, now, interval)
    blind = status.blind_seconds + passed(status.looked_at, now, interval, late=slowest_look)
    return status.model_copy(
        update={
            "looked_at": now,
            "elapsed_seconds": status.elapsed_seconds + seconds,
            "watched_seconds": status.watched_seconds + (seconds if measured else 0),
            "passing_seconds": status.passing_seconds + seconds if good else 0,
            "blind_seconds": 0 if measured else blind,
        }
    )


def seen(status: W, compared: Mapping[str, Compared]) -> W:
    """With what the comparisons have seen."""
    if not isinstance(status, CandidateStatus):
        return status
    found = [one.seen for one in compared.values() if one.seen is not None]
    return status.model_copy(update={"comparisons": found})


def polled(status: W, failing: Mapping[str, Failing] | None) -> W:
    """With what the counters of failed requests have told, when somebody asked."""
    if failing is None:
        return status
    return status.model_copy(update={"polls": [one.seen for one in failing.values() if one.seen is not None]})


def tallied(status: W, counts: Iterable[SloCounts]) -> W:
    """With what was counted of each SLO, as far as there is something to remember."""
    return status.model_copy(update={"counts": [one for one in counts if one.failures or one.consecutive_errors]})


def waiting(status: W, now: datetime, poll: timedelta, counts: bool = True) -> W:
    """Its pods are not ready: it has no traffic, and the time is counted that this takes, unless that is the cluster's."""
    if started_at(status) is not None:
        return stopped(status).model_copy(update={"looked_at": now})
    last = status.looked_at
    if last is not None and timedelta() <= now - last < poll:
        return status  # not worth a write yet
    seconds = waited(status, now, poll) if counts else status.not_ready_seconds
    return status.model_copy(update={"looked_at": now, "not_ready_seconds": seconds})


def waited(status: Watched, now: datetime, poll: timedelta) -> int:
    """Seconds without ready pods until now."""
    return status.not_ready_seconds + passed(status.looked_at, now, int(poll.total_seconds()))


def without_stable(candidate: CandidateStatus, now: datetime, poll: timedelta, silent: bool) -> CandidateStatus:
    """How long no pod of the stable has answered."""
    last = candidate.stable_silent_at
    if not silent:
        return (
            candidate.model_copy(update={"stable_silent_seconds": 0, "stable_silent_at": None}) if last else candidate
        )
    if last is not None and timedelta() <= now - last < poll:
        return candidate  # not worth a write yet
    seconds = candidate.stable_silent_seconds + passed(last, now, int(poll.total_seconds()))
    return candidate.model_copy(update={"stable_silent_seconds": seconds, "stable_silent_at": now})


def delayed(candidate: CandidateStatus, now: datetime, poll: timedelta) -> CandidateStatus:
    """Under traffic, and not judged yet."""
    last = candidate.looked_at
    if last is not None and timedelta() <= now - last < poll:
        return candidate  # not worth a write yet
    seconds = candidate.delayed_seconds + passed(last, now, int(poll.total_seconds()))
    return candidate.model_copy(update={"looked_at": now, "delayed_seconds": seconds})


def under_way(candidate: CandidateStatus, now: datetime, poll: timedelta, counts: bool) -> CandidateStatus:
    """How long it has been in its steps, and in the running one; a time that does not count is left out."""
    last = candidate.counted_at
    if not counts:
        return candidate.model_copy(update={"counted_at": None}) if last is not None else candidate
    if last is not None and timedelta() <= now - last < poll:
        return candidate  # not worth a write yet
    seconds = passed(last, now, int(poll.total_seconds()))
    return candidate.model_copy(
        update={
            "counted_at": now,
            "rollout_seconds": candidate.rollout_seconds + seconds,
            "step_seconds": candidate.step_seconds + seconds,
        }
    )


def _nothing(status: Watched) -> dict[str, Any]:
    """What a watch begins with; comparisons begin anew with it."""
    return {**_NOTHING, "comparisons": [], "delayed_seconds": 0} if isinstance(status, CandidateStatus) else _NOTHING


def _start_of(status: Watched) -> str:
    return "started_at" if isinstance(status, BakeStatus) else "step_started_at"
