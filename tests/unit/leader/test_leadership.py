"""Of several candidates one leads, on clocks of their own."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from serin_operator.api.kinds import Kind
from serin_operator.errors import ClusterUnavailable, Conflict
from serin_operator.leader import Leadership
from serin_operator.settings import LeaderElection

TIMING = LeaderElection()


class OneLease:
    """The apiserver's part: one object, optimistic locking, and sometimes no answer."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.down = False

    def _store(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.lease = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": str(self.version)}}
        return self.lease

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        if self.down:
            raise ClusterUnavailable("down")
        return None if self.lease is None else {**self.lease, "spec": dict(self.lease["spec"])}

    async def create(self, kind: Kind, manifest: Mapping[str, Any]) -> bool:
        if self.lease is not None:
            return False
        self._store(manifest)
        return True

    async def replace(self, kind: Kind, manifest: Mapping[str, Any]) -> dict[str, Any]:
        assert self.lease is not None
        if manifest["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise Conflict("newer")
        return self._store(manifest)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> OneLease:
    return OneLease()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def candidate(store: OneLease, clock: Clock, name: str) -> Leadership:
    return Leadership(store, "ns", name, TIMING, clock, lambda: datetime.now(UTC))  # type: ignore[arg-type]


async def test_the_first_one_leads_and_the_second_waits(store: OneLease, clock: Clock) -> None:
    one, two = candidate(store, clock, "one"), candidate(store, clock, "two")
    assert await one.attempt()
    assert not await two.attempt()
    assert one.holds()
    assert not two.holds()


async def test_a_lease_that_is_not_renewed_is_taken_over(store: OneLease, clock: Clock) -> None:
    one, two = candidate(store, clock, "one"), candidate(store, clock, "two")
    await one.attempt()
    await two.attempt()
    clock.now += TIMING.lease_duration_seconds
    assert not await two.attempt()
    clock.now += 1
    assert await two.attempt()
    assert not await one.attempt()


async def test_the_old_leader_stops_before_the_new_one_may_begin(store: OneLease, clock: Clock) -> None:
    one, two = candidate(store, clock, "one"), candidate(store, clock, "two")
    await one.attempt()
    for _ in range(60):
        clock.now += 0.5
        began = await two.attempt()
        assert not (one.holds() and two.holds())
        if began:
            break
    assert two.holds()


async def test_a_renewed_lease_stays(store: OneLease, clock: Clock) -> None:
    one, two = candidate(store, clock, "one"), candidate(store, clock, "two")
    for _ in range(30):
        assert await one.attempt()
        assert not await two.attempt()
        clock.now += 2


async def test_an_apiserver_that_is_away_ends_leadership_in_time(store: OneLease, clock: Clock) -> None:
    one = candidate(store, clock, "one")
    await one.attempt()
    store.down = True
    clock.now += TIMING.renew_deadline_seconds - 1
    assert not await one.attempt()
    assert one.holds()
    clock.now += 2
    assert not one.holds()


async def test_a_released_lease_is_free_at_once(store: OneLease, clock: Clock) -> None:
    one, two = candidate(store, clock, "one"), candidate(store, clock, "two")
    await one.attempt()
    await one.release()
    assert not one.holds()
    assert await two.attempt()


async def test_a_restart_under_the_same_name_goes_on_at_once(store: OneLease, clock: Clock) -> None:
    await candidate(store, clock, "one").attempt()
    assert await candidate(store, clock, "one").attempt()


async def test_of_two_that_write_at_once_one_wins(store: OneLease, clock: Clock) -> None:
    one, two = candidate(store, clock, "one"), candidate(store, clock, "two")
    await candidate(store, clock, "dead").attempt()
    await one.attempt()
    await two.attempt()
    clock.now += TIMING.lease_duration_seconds + 1
    assert [await one.attempt(), await two.attempt()] == [True, False]


async def test_a_lease_that_somebody_else_took_is_lost_at_once(store: OneLease, clock: Clock) -> None:
    """Not after the deadline: a lease may change hands early, by a person's hand."""
    one, two = candidate(store, clock, "one"), candidate(store, clock, "two")
    await one.attempt()
    assert store.lease is not None
    store.lease["spec"]["holderIdentity"] = ""
    await two.attempt()
    assert not await one.attempt()
    assert not one.holds()
