"""The work queue: serial by key, coalescing, backing off, on time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta

from serin_operator.queue import LONGEST_BACKOFF, LOOKS_AT_ONCE, Key, RetryLater, WorkQueue, backoff

A, B = Key("K", "ns", "a"), Key("K", "ns", "b")


async def serve(
    queue: WorkQueue, look: Callable[[Key], Awaitable[timedelta | None]], seconds: float, at_once: int = 4
) -> None:
    try:
        async with asyncio.timeout(seconds):
            await queue.run(look, at_once)
    except TimeoutError:
        return


async def test_wakeups_of_one_key_coalesce() -> None:
    queue, seen = WorkQueue(), Counter[Key]()

    async def look(key: Key) -> None:
        seen[key] += 1

    for _ in range(100):
        queue.add(A)
    queue.add(B)
    await serve(queue, look, 0.1)
    assert seen == {A: 1, B: 1}


async def test_a_key_is_never_looked_at_twice_at_the_same_time() -> None:
    queue, inside, most = WorkQueue(), 0, 0

    async def look(key: Key) -> timedelta | None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        queue.add(A)  # wakes itself while it is looked at
        await asyncio.sleep(0.01)
        inside -= 1
        return None

    queue.add(A)
    await serve(queue, look, 0.2)
    assert most == 1


async def test_a_wakeup_during_a_look_is_not_lost() -> None:
    queue, seen = WorkQueue(), Counter[Key]()

    async def look(key: Key) -> None:
        seen[key] += 1
        if seen[key] == 1:
            queue.add(key)
            await asyncio.sleep(0.02)

    queue.add(A)
    await serve(queue, look, 0.2)
    assert seen[A] == 2


async def test_a_busy_key_does_not_keep_another_waiting() -> None:
    queue, seen = WorkQueue(), list[Key]()
    release = asyncio.Event()

    async def look(key: Key) -> None:
        seen.append(key)
        if key == A and len(seen) == 1:
            queue.add(A)
            queue.add(B, timedelta(milliseconds=20))
            await release.wait()
        if key == B:
            release.set()

    queue.add(A)
    await serve(queue, look, 0.3, at_once=2)
    assert seen == [A, B, A]


async def test_a_booked_look_comes_on_time_and_an_earlier_wakeup_moves_it_forward() -> None:
    queue, seen = WorkQueue(), list[float]()
    start = asyncio.get_running_loop().time()

    async def look(key: Key) -> None:
        seen.append(asyncio.get_running_loop().time() - start)

    queue.add(A, timedelta(seconds=10))
    queue.add(A, timedelta(milliseconds=30))
    queue.add(A, timedelta(seconds=20))
    await serve(queue, look, 0.3)
    assert len(seen) == 1
    assert seen[0] >= 0.03


async def test_a_failed_look_comes_again_later() -> None:
    queue, seen = WorkQueue(), Counter[Key]()

    async def look(key: Key) -> None:
        seen[key] += 1
        raise RetryLater

    queue.add(A)
    await serve(queue, look, 0.2)
    assert seen[A] == 1  # the second comes after a second


async def test_those_that_back_off_come_at_once_when_their_trouble_may_be_over() -> None:
    queue, seen = WorkQueue(), Counter[Key]()

    async def look(key: Key) -> timedelta | None:
        seen[key] += 1
        if key == A and seen[A] == 1:
            raise RetryLater(timedelta(hours=1))
        return timedelta(hours=1)

    queue.add(A)
    queue.add(B)
    await serve(queue, look, 0.1)
    queue.hurry()
    await serve(queue, look, 0.1)
    assert seen == {A: 2, B: 1}  # B did not fail: its time has not come
    queue.hurry()
    await serve(queue, look, 0.1)
    assert seen == {A: 2, B: 1}


async def test_a_look_that_hangs_is_ended_and_comes_again_later() -> None:
    queue, seen = WorkQueue(longest_look=timedelta(milliseconds=50)), Counter[Key]()

    async def look(key: Key) -> None:
        seen[key] += 1
        await asyncio.Event().wait()

    queue.add(A)
    await serve(queue, look, 0.2, at_once=1)
    assert seen[A] == 1
    assert A in queue._due


async def test_a_queue_is_stuck_while_looks_neither_begin_nor_end() -> None:
    queue = WorkQueue()
    await asyncio.sleep(100)  # the room's clock begins at 0
    now = asyncio.get_running_loop().time
    assert queue.stuck_for() == 0.0
    queue.add(A, timedelta(hours=1))
    assert queue.stuck_for() == 0.0  # nothing is due
    queue._due[A] = now() - 50
    assert 50 <= queue.stuck_for() < 51  # nobody takes it
    queue._moved = now() - 7
    assert 7 <= queue.stuck_for() < 8  # others were taken since
    queue._busy.add(B)
    del queue._due[A]
    assert 7 <= queue.stuck_for() < 8  # one look goes on and on


async def test_a_queue_at_work_is_not_stuck() -> None:
    queue = WorkQueue()

    async def look(key: Key) -> timedelta:
        return timedelta(milliseconds=5)

    queue.add(A)
    await serve(queue, look, 0.3)
    assert queue.stuck_for() < 0.2


def test_backoff_doubles_up_to_five_minutes() -> None:
    assert [backoff(n).total_seconds() for n in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert backoff(50) == LONGEST_BACKOFF


async def test_a_failing_look_that_must_not_wait_long_backs_off_no_further() -> None:
    queue, seen = WorkQueue(), Counter[Key]()

    async def look(key: Key) -> None:
        seen[key] += 1
        raise RetryLater(at_most=timedelta(milliseconds=20))

    queue.add(A)
    await serve(queue, look, 0.3)
    assert seen[A] > 5


async def test_slow_looks_keep_no_others_waiting() -> None:
    queue, seen = WorkQueue(), Counter[Key]()

    async def look(key: Key) -> None:
        seen[key] += 1
        if key.name.startswith("slow"):
            await asyncio.sleep(10)

    for number in range(40):
        queue.add(Key("K", "ns", f"slow-{number}"))
    queue.add(A)
    await serve(queue, look, 0.2, at_once=LOOKS_AT_ONCE)
    assert seen[A] == 1
