"""A look whose writes met newer versions is made anew."""

from datetime import UTC, datetime
from typing import Any, cast

import pytest
from serin_operator import reconciler
from serin_operator.errors import ClusterUnavailable, Conflict
from serin_operator.queue import Key, RetryLater, WorkQueue

JOB = Key("FineTuneJob", "ml", "bot")


async def fails(monkeypatch: pytest.MonkeyPatch, error: Exception) -> RetryLater:
    async def observe(*_: Any) -> None:
        raise error

    monkeypatch.setattr(reconciler, "observe_job", observe)
    nothing = cast("Any", None)
    looks = reconciler.Reconciler(nothing, nothing, nothing, nothing, nothing, lambda: datetime.now(UTC), nothing)
    with pytest.raises(RetryLater) as later:
        await looks.look(JOB)
    return later.value


async def test_somebody_who_writes_all_the_time_holds_a_rollback_off_for_seconds_and_not_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later, queue = await fails(monkeypatch, Conflict("newer")), WorkQueue()
    waits = [queue._back_off(JOB, later).total_seconds() for _ in range(20)]  # pyright: ignore[reportPrivateUsage]
    assert waits[:3] == [1, 2, 4]
    assert max(waits) == 5


async def test_an_apiserver_in_trouble_is_given_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    later, queue = await fails(monkeypatch, ClusterUnavailable("503")), WorkQueue()
    waits = [queue._back_off(JOB, later).total_seconds() for _ in range(20)]  # pyright: ignore[reportPrivateUsage]
    assert max(waits) == 300
