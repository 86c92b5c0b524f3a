"""Several pods measure for one evaluation: each its share, and whoever finds all shares there goes on with all of them.

What they share is the folder of parts of each entry (`parts.py`), which a pod that was killed goes on from as well. There is
no other state: who comes last is seen from the parts, so a pod that is lost is run again by itself, and one that ends while
the last one is joining them does nothing. Two that come last at once join the same rows into the same entry.
"""

import logging
from collections.abc import Sequence

from serin_evaluator.cache import Entry, ScoreCache
from serin_evaluator.config import Model
from serin_evaluator.measured import Speed
from serin_evaluator.measuring import Task, measure_tasks, pending
from serin_evaluator.progress import BOARD
from serin_evaluator.share import Share
from serin_evaluator.suites import LoadedSuite

log = logging.getLogger(__name__)


def measured_by_all(
    models: Sequence[Model], suites: Sequence[LoadedSuite], cache: ScoreCache, seed: int, share: Share
) -> bool:
    """Measure this pod's share; whether nothing is left to be measured by another. Times are the last pod's to take: an
    answer must have the machine for itself."""
    for model in models:
        tasks = [task for task in _shared(model, suites, cache, seed) if not _joined(task, cache)]
        for task in tasks:
            BOARD.tell(task.what, 0, share.about(len(task.suite.examples)))
        if tasks:
            measure_tasks(model, tasks, cache, share)
    left = [task.what for model in models for task in _shared(model, suites, cache, seed) if not _joined(task, cache)]
    if left:
        log.info("share=%d of=%d is measured; others still measure %s", share.index, share.of, ", ".join(left))
    return not left


def _shared(model: Model, suites: Sequence[LoadedSuite], cache: ScoreCache, seed: int) -> list[Task]:
    """What is dealt out. A benchmark's requests are put into batches by kinds of its own: the last pod asks them alone."""
    every = pending(model, suites, cache, seed)
    return [task for task in every if task.kind is not Speed and task.suite.benchmark is None]


def _joined(task: Task, cache: ScoreCache) -> bool:
    """Whether all parts of an entry are there, which is then kept as a whole."""
    parts = cache.parts(task.identity(), task.kind)
    found = parts.whole(task.suite.examples.keys())
    if found is None:
        return False
    cache.put(task.identity(), Entry(*found))
    parts.done()
    return True
