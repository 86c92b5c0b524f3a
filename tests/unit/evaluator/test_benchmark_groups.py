"""What a group of tasks says of its figures: the harness's own rules, by the row."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from serin_evaluator.benchmark_groups import Group, Said, described, group_of
from serin_evaluator.errors import DataError


@dataclass
class Listed:
    """As the harness reads an entry of `aggregate_metric_list`."""

    metric: str = "acc"
    filter_list: list[str] | None = None
    aggregation: Any = "mean"
    weight_by_size: Any = True


@dataclass
class Task:
    task_name: str


@dataclass
class Made:
    """As the harness makes a group."""

    name: str = "sums"
    aggregate_metric_list: list[Listed] | None = field(default_factory=lambda: [Listed()])
    tasks: tuple[str, ...] = ("plus", "minus", "plus")

    def get_all_tasks(self) -> list[Task]:
        return [Task(name) for name in self.tasks]


def test_a_group_is_read_with_all_tasks_below_it_once() -> None:
    assert group_of(Made()) == Group("sums", ("minus", "plus"), (Said("acc", True, None),))
    assert group_of(Made(aggregate_metric_list=None)).says == ()


@pytest.mark.parametrize(
    ("listed", "filters", "by_size"),
    [
        ([Listed()], ["none"], True),
        ([Listed(weight_by_size=False)], ["none", "none"], False),
        ([Listed(weight_by_size=False, filter_list=["strict", "loose"])], ["loose"], False),
        ([Listed(filter_list=["strict"])], ["loose"], None),
        ([Listed()], ["strict", "loose"], None),
        ([Listed(metric="acc_norm")], ["none"], None),
        ([Listed(filter_list=["strict"]), Listed(filter_list=["loose"], weight_by_size=False)], ["strict"], True),
        ([Listed(), Listed(weight_by_size=False)], ["none"], False),
    ],
)
def test_what_it_says_of_a_metric_goes_by_the_filter(
    listed: list[Listed], filters: list[str], by_size: bool | None
) -> None:
    said = group_of(Made(aggregate_metric_list=listed)).of("acc", filters)

    assert (said and said.by_size) is by_size


def test_the_filters_it_names_are_told() -> None:
    group = group_of(Made(aggregate_metric_list=[Listed(filter_list=["strict"]), Listed(filter_list=["loose"])]))

    assert group.names("acc")
    assert not group.names("f1")
    assert group.filters("acc") == "loose or strict"
    assert group_of(Made()).filters("acc") == "one filter"


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        (Listed(aggregation=max), "The task sums puts acc together by a function of its own"),
        (Listed(weight_by_size="no"), "has weight_by_size: 'no' for acc, which is neither true nor false"),
    ],
)
def test_what_is_not_known_is_refused(listed: Listed, why: str) -> None:
    with pytest.raises(DataError, match=why):
        group_of(Made(aggregate_metric_list=[listed]))


def test_whatever_changes_its_figure_changes_what_is_digested() -> None:
    def told(**made: Any) -> str:
        return str(described({"sums": group_of(Made(**made))}))

    others = [
        told(tasks=("plus",)),
        told(aggregate_metric_list=[Listed(weight_by_size=False)]),
        told(aggregate_metric_list=[Listed(filter_list=["none"])]),
        told(aggregate_metric_list=None),
    ]
    assert len({told(), *others}) == 5
    assert told() == told(tasks=("minus", "plus"))
