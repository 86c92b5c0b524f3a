"""Liveness: killed for what a restart mends, and for nothing else."""

from aiohttp.test_utils import TestClient, TestServer
from serin_operator.health import Pulse, application


async def asked(pulse: Pulse, path: str) -> tuple[int, str]:
    async with TestClient(TestServer(application(pulse))) as client:
        answer = await client.get(path)
        return answer.status, await answer.text()


async def test_a_follower_with_nothing_to_do_is_alive() -> None:
    assert await asked(Pulse(), "/healthz") == (200, "ok\n")


async def test_parts_that_move_are_alive() -> None:
    assert (await asked(Pulse({"the queue": lambda: 299.0}), "/healthz"))[0] == 200


async def test_a_part_without_progress_is_named_and_ends_the_process() -> None:
    status, said = await asked(Pulse({"the queue": lambda: 0.0, "the safety net": lambda: 301.0}), "/healthz")
    assert status == 500
    assert said == "the safety net: no progress for 301 s\n"


async def test_a_stuck_operator_stays_ready_until_it_is_killed() -> None:
    assert (await asked(Pulse({"the queue": lambda: 999.0}), "/readyz"))[0] == 200


async def test_metrics_are_served() -> None:
    status, said = await asked(Pulse(), "/metrics")
    assert status == 200
    assert "serin_api_retries_total" in said
