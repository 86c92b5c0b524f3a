"""What is measured already of an entry in the making, kept every few seconds: a pod that is killed loses no more than those.

Whole batches are kept, and a pod that goes on makes the same batches again, so the numbers are those of an uninterrupted
run. A part is written whole or not at all; one that cannot be read is measured again. Not here: finished entries (`cache.py`).
"""

import gzip
import json
import logging
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from serin_evaluator.errors import TryAgain
from serin_evaluator.measured import Choice, Generation, Likelihood, Opinion
from serin_evaluator.result import write_atomically
from serin_evaluator.share import ALL, Share

log = logging.getLogger(__name__)
Row = TypeVar("Row", Likelihood, Generation, Choice, Opinion)
EVERY_SECONDS: Final = 5.0
_TOO_LONG: Final = "too-long.json"


class Parts(Generic[Row]):
    """The rows that were measured before, and where those that are measured now are kept; without a folder, nowhere."""

    def __init__(
        self,
        folder: Path | None,
        kind: type[Row],
        clock: Callable[[], float] = time.monotonic,
        share: Share = ALL,
    ) -> None:
        self._folder, self._clock, self._share = folder, clock, share
        self._fresh: dict[int, Row] = {}
        self._kept_at = clock()
        self.known: dict[int, Row] = {}
        for path in sorted(folder.glob("*.json.gz")) if folder is not None and folder.is_dir() else ():
            try:
                rows = json.loads(gzip.decompress(path.read_bytes()))
                self.known.update({int(one): kind(**row) for one, row in rows.items()})
            except (OSError, EOFError, ValueError, TypeError, AttributeError) as error:
                log.warning("a part kept in %s cannot be used, so it is measured again: %s", path.name, error)

    def batches(self, every: Iterable[list[int]]) -> Iterator[list[int]]:
        """Of all batches those that are this pod's to measure."""
        return self._share.batches(every)

    def of(self, ids: Collection[int]) -> dict[int, Row] | None:
        """These rows when all of them were measured before."""
        return {one: self.known[one] for one in ids} if all(one in self.known for one in ids) else None

    def keep(self, rows: Mapping[int, Row]) -> None:
        """Keep a batch, by now or within a few seconds."""
        self._fresh.update(rows)
        if self._clock() - self._kept_at >= EVERY_SECONDS:
            self._write()

    def flush(self) -> None:
        """Keep by now what was measured: its making ends, well or not."""
        self._write()

    def hand_over(self, too_long: Collection[int]) -> None:
        """A share is measured: all of it must be where the other pods find it, and so must what fits into no batch."""
        self._write()
        try:
            if self._folder is None or self._fresh:
                raise OSError(None, "it is not writable")
            write_atomically(self._folder / _TOO_LONG, json.dumps(sorted(too_long)).encode())
        except OSError as error:
            raise TryAgain(
                "OutputNotWritable", f"What was measured cannot be handed over in {self._folder}: {error.strerror}."
            ) from error

    def whole(self, ids: Collection[int]) -> tuple[dict[int, Row], tuple[int, ...]] | None:
        """All rows and those that were too long, when each of these ids is one of both."""
        try:
            too_long = {int(one) for one in json.loads(((self._folder or Path()) / _TOO_LONG).read_bytes())}
        except (OSError, ValueError, TypeError):
            return None
        if set(ids) != (self.known.keys() | too_long):
            return None
        return {one: self.known[one] for one in sorted(self.known)}, tuple(sorted(too_long))

    def done(self) -> None:
        """The whole entry is kept elsewhere."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self) -> None:
        self._kept_at = self._clock()
        if self._folder is None or not self._fresh:
            return
        rows: dict[str, Any] = {str(one): asdict(row) for one, row in self._fresh.items()}
        name = f"{min(self._fresh)}-{max(self._fresh)}-{len(self._fresh)}.json.gz"
        try:
            write_atomically(self._folder / name, gzip.compress(json.dumps(rows).encode(), mtime=0))
        except OSError as error:
            log.warning("what is measured cannot be kept in %s: %s", self._folder, error.strerror)
            return
        self._fresh = {}
