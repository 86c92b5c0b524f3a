"""Groups of tasks: how each says that one number is made of its tasks' (`aggregate_metric_list`).

lm-evaluation-harness weighs a task's figure by its number of rows, or not (`weight_by_size`), and puts figures of one filter
together. What a group does not say, or says of rows that were filtered otherwise, is no number of the harness. Pure.
Not here: the numbers (`benchmarks.py`) and their intervals (`uncertainty.py`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from serin_evaluator.taskfiles import refuse


@dataclass(frozen=True)
class Said:
    """What a group says of one metric."""

    metric: str
    """As the harness calls it."""
    by_size: bool
    """Whether a task counts as its rows, or as any other task."""
    filters: tuple[str, ...] | None
    """Of which filters' figures; None is of any."""


@dataclass(frozen=True)
class Group:
    """A group and all tasks below it."""

    name: str
    tasks: tuple[str, ...]
    says: tuple[Said, ...]

    def of(self, metric: str, filters: Iterable[str]) -> Said | None:
        """What it says of a metric of tasks with these filters; None when it names none such. The last word holds."""
        used = set(filters)
        fitting = [
            one
            for one in self.says
            if one.metric == metric and len(used) == 1 and (one.filters is None or used <= set(one.filters))
        ]
        return fitting[-1] if fitting else None

    def names(self, metric: str) -> bool:
        """Whether it says anything of a metric."""
        return any(one.metric == metric for one in self.says)

    def filters(self, metric: str) -> str:
        """Those that it names for a metric, as a sentence has them."""
        named = {name for one in self.says if one.metric == metric for name in one.filters or ()}
        return " or ".join(sorted(named)) or "one filter"


def group_of(made: Any) -> Group:
    """What is to be known of a group that the harness has read."""
    return Group(
        name=made.name,
        tasks=tuple(sorted({task.task_name for task in made.get_all_tasks()})),
        says=tuple(_said(made.name, one) for one in made.aggregate_metric_list or ()),
    )


def described(groups: Mapping[str, Group]) -> list[list[Any]]:
    """All that their figures depend on, for a digest."""
    return [
        [group.name, group.tasks, [[one.metric, one.by_size, one.filters] for one in group.says]]
        for _, group in sorted(groups.items())
    ]


def _said(group: str, listed: Any) -> Said:
    if listed.aggregation != "mean":  # the harness refuses other names, and does not call functions
        raise refuse(group, f"puts {listed.metric} together by a function of its own", "Say aggregation: mean.")
    if not isinstance(listed.weight_by_size, bool):
        raise refuse(
            group,
            f"has weight_by_size: {listed.weight_by_size!r} for {listed.metric}, which is neither true nor false",
            "Say weight_by_size: true or false.",
        )
    filters = None if listed.filter_list is None else tuple(str(one) for one in listed.filter_list)
    return Said(str(listed.metric), listed.weight_by_size, filters)
