"""Makes saved checkpoints count beside the training that goes on.

When the Trainer has written a checkpoint its files are in the page cache, and the model is needed no more. What is left (to
sync and hash each file, to write the marker, to rename, to remove old checkpoints) is done by threads: each process hashes
its share of the files; when all have, which they agree on at the end of a step, rank 0 publishes. Until then there is no
marker, so a crash leaves a folder that no attempt looks at.

Threads take no part in collectives: those are in the main thread, where each process is at the same place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from . import checkpoint
from .config import Checkpoints

_T = TypeVar("_T")


class Group(Protocol):
    """The processes of a run. Each method is called by all of them together."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def meet(self) -> None:
        """Nobody goes on before all are here."""
        ...

    def from_first(self, value: Any) -> Any:
        """What rank 0 gives."""
        ...

    def to_first(self, value: Any) -> list[Any]:
        """What all gave, on rank 0; nothing elsewhere."""
        ...


@dataclass
class _Saved:
    """A checkpoint whose files are written."""

    step: int
    loss: float | None
    share: Future[list[dict[str, object]]]
    stood_still: float = 0.0


class Publisher:
    """Of one process. What goes wrong in a thread is raised by the next call in the main one."""

    def __init__(self, output: Path, wish: Checkpoints, group: Group, say: Callable[[str], None]) -> None:
        self._output = output
        self._wish = wish
        self._group = group
        self._say = say
        self._begun = False  # what was saved last may not count yet; the same in all processes
        self._saved: _Saved | None = None  # its files are not hashed by all yet
        self._published: Future[None] | None = None  # on rank 0

    @property
    def hashing(self) -> bool:
        """Whether this process still reads what was saved."""
        if self._published is not None and self._published.done():
            self._published.result()
        if self._saved is None:
            return False
        if self._saved.share.done():
            self._saved.share.result()
            return False
        return True

    def begin(self, step: int, loss: float | None, since: float) -> None:
        """The files of a checkpoint are written by this process. `since` is when training began to stand still."""
        self.settle()
        self._group.meet()
        folder = checkpoint.saving(self._output, step)
        names: list[str] = self._group.from_first(checkpoint.file_names(folder) if self._leads else None)
        mine = names[self._group.rank :: self._group.size]
        self._saved = _Saved(step, loss, _beside(lambda: checkpoint.describe(folder, mine)))
        self._saved.stood_still = time.monotonic() - since
        self._begun = True

    def step_ended(self, *, anyone_hashes: bool) -> None:
        """Rank 0 publishes as soon as all have hashed their share; all processes were told the same."""
        if self._saved is None or anyone_hashes:
            return
        saved, self._saved = self._saved, None
        shares = self._group.to_first(saved.share.result())
        if self._leads:
            self._published = _beside(lambda: self._publish(saved, [file for share in shares for file in share]))

    def settle(self) -> None:
        """Waits until what was saved counts: then it does for every process."""
        if not self._begun:
            return
        if self._saved is not None:
            self._saved.share.result()
        self.step_ended(anyone_hashes=False)
        if self._published is not None:
            self._published.result()
        self._group.meet()
        self._begun, self._published = False, None

    @property
    def _leads(self) -> bool:
        return self._group.rank == 0

    def _publish(self, saved: _Saved, files: list[dict[str, object]]) -> None:
        checkpoint.publish(self._output, saved.step, files, saved.loss)
        checkpoint.rotate(self._output, self._wish.keep_recent, self._wish.keep_best)
        self._say(f"checkpoint-{saved.step} is saved; training stood still for {saved.stood_still:.2f} s")


def _beside(do: Callable[[], _T]) -> Future[_T]:
    """Does it in a thread that ends with the process, whatever it is at."""
    future: Future[_T] = Future()

    def work() -> None:
        try:
            future.set_result(do())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="checkpoint", daemon=True).start()
    return future
