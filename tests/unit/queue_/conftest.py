"""Tests of this room take their time from the event loop only, so it may pass as they need it."""

from support.virtual_time import VirtualTime


def pytest_asyncio_loop_factories() -> dict[str, type[VirtualTime]]:
    return {"virtual": VirtualTime}
