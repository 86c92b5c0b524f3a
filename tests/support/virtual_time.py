"""An event loop in which seconds pass only when nothing else is to be done: exact on a busy machine, and free.

It begins at second 0. For what takes its time from the loop (`asyncio.sleep`, `asyncio.timeout`, `loop.time()`) and waits
for nothing outside of it.
"""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any


class VirtualTime(asyncio.SelectorEventLoop):
    """`asyncio.run(work(), loop_factory=VirtualTime)`; tests get it by `pytest_asyncio_loop_factories` in a conftest."""

    def __init__(self) -> None:
        self._second = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self._second

    def skip(self, seconds: float) -> None:
        self._second += seconds


class _Selector(selectors.BaseSelector):
    """Looks whether something came, and does not wait for it: what the loop would wait is skipped."""

    def __init__(self, loop: VirtualTime) -> None:
        self._loop, self._real = loop, selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = self._real.select(0 if timeout is not None else None)
        if not found and timeout is not None and timeout > 0:
            self._loop.skip(timeout)
        return found

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()
