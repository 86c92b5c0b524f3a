"""The real table: complete, in an order that overlaps downloads with compiles, and one copy of the big layer at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
from serin_devcluster import gobuild
from serin_devcluster.graph import Lane, Task, in_order, needed_for
from serin_devcluster.paths import Paths
from serin_devcluster.tasks import Tasks


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tasks:
    monkeypatch.setattr(gobuild, "go_version", lambda: "go1.26 amd64")
    return Tasks(Paths(tmp_path))


def by_name(table: list[Task]) -> dict[str, Task]:
    return {task.name: task for task in table}


def test_every_need_in_the_table_is_a_task_of_it(tasks: Tasks) -> None:
    assert len(in_order(tasks.up())) == len(tasks.up())


def test_the_torch_stack_is_fetched_while_kubernetes_compiles(tasks: Tasks) -> None:
    table = tasks.up()
    names = [task.name for task in table]
    assert by_name(table)["image-base"].lane is not by_name(table)["tool-kubernetes"].lane
    assert names.index("image-base") < names.index("fetch-contour")


def test_images_above_the_big_layer_are_loaded_after_it(tasks: Tasks) -> None:
    table = by_name(tasks.up())
    for name in ("trainer", "evaluator", "server"):
        if f"load-{name}" in table:
            assert "load-base" in table[f"load-{name}"].needs
    assert {task.lane for name, task in table.items() if name.startswith("load-")} == {Lane.DISK}


def test_the_node_does_not_wait_for_the_products_images(tasks: Tasks) -> None:
    needed = {task.name for task in needed_for(tasks.up(), ["ready"])}
    assert "load-infra" in needed
    assert not {"image-base", "image-trainer", "image-operator"} & needed
