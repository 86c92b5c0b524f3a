"""Which part of the measuring is this pod's, where several pods measure for one evaluation.

Batches are dealt out, never single rows: what a model computes for a row depends, in its last bits, on the rows beside it,
so the numbers are those of one pod that does it all. Not here: how the pods' rows come together (`sharing.py`).
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from serin_evaluator.errors import ConfigError

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Share:
    """Every `of`-th batch, from the `index`-th on. Batches go from long to short, so the shares weigh about the same."""

    index: int = 0
    of: int = 1

    def batches(self, every: Iterable[Batch]) -> Iterator[Batch]:
        """Those that are this pod's."""
        return (batch for number, batch in enumerate(every) if number % self.of == self.index)

    def about(self, rows: int) -> int:
        """How many of so many rows it will be, more or less."""
        return -(-rows // self.of)


ALL = Share()


def share_of_pod(pods: int) -> Share:
    """The share of this pod of an Indexed Job (https://kubernetes.io/docs/concepts/workloads/controllers/job/)."""
    if pods == 1:
        return ALL
    index = os.environ.get("JOB_COMPLETION_INDEX", "")
    if not index.isdigit() or int(index) >= pods:
        raise ConfigError(
            "InvalidConfig",
            f"JOB_COMPLETION_INDEX is {index!r}, and {pods} pods share this evaluation: there is no such share.",
            "Run it as an Indexed Job with as many completions as the config has pods.",
        )
    return Share(int(index), pods)
