"""The task graph: order, lanes, errors and what the user sees."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable

import pytest
from serin_devcluster.graph import GraphError, Lane, Progress, Runner, Task, in_order, needed_for


def nothing() -> None:
    pass


def task(
    name: str, *needs: str, lane: Lane = Lane.CPU, action: Callable[[], None] = nothing, done: bool = False
) -> Task:
    return Task(name, f"making {name}", action, lane, needs, is_done=lambda: done)


def quiet(count: int) -> Progress:
    return Progress(count, out=io.StringIO())


def names(tasks: list[Task]) -> list[str]:
    return [one.name for one in tasks]


def test_a_task_comes_after_all_it_needs_and_otherwise_in_the_order_of_the_table() -> None:
    assert names(in_order([task("node", "images"), task("tools"), task("images", "tools")])) == [
        "tools",
        "images",
        "node",
    ]


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        pytest.param([task("a", "b"), task("b", "a")], "needs itself", id="a circle"),
        pytest.param([task("a", "zebra")], "zebra", id="an unknown need"),
        pytest.param([task("a"), task("a")], "share a name", id="a name twice"),
    ],
)
def test_a_wrong_table_is_refused_before_anything_runs(table: list[Task], complaint: str) -> None:
    with pytest.raises(GraphError, match=complaint):
        in_order(table)


def test_only_what_the_goals_need_is_kept() -> None:
    table = [task("tools"), task("images", "tools"), task("helm"), task("node", "images")]
    assert names(needed_for(table, ["images"])) == ["tools", "images"]


def test_what_is_done_already_does_not_run_again() -> None:
    ran: list[str] = []
    table = [
        task("built", action=lambda: ran.append("built"), done=True),
        task("missing", "built", action=lambda: ran.append("missing")),
    ]
    Runner(table, quiet(2)).run()
    assert ran == ["missing"]


def test_a_download_runs_while_something_compiles() -> None:
    downloading, compiling = threading.Event(), threading.Event()

    def meet(mine: threading.Event, other: threading.Event) -> None:
        mine.set()
        assert other.wait(5), "the other lane did not run at the same time"

    table = [
        task("compile", action=lambda: meet(compiling, downloading)),
        task("download", lane=Lane.NETWORK, action=lambda: meet(downloading, compiling)),
    ]
    Runner(table, quiet(2)).run()


def test_the_first_error_is_raised_and_nothing_that_needs_the_task_runs() -> None:
    ran: list[str] = []

    def fail() -> None:
        raise RuntimeError("no route to mirror")

    table = [
        task("download", lane=Lane.NETWORK, action=fail),
        task("build", "download", action=lambda: ran.append("build")),
        task("boot", "build", lane=Lane.NETWORK, action=lambda: ran.append("boot")),
    ]
    with pytest.raises(RuntimeError, match="no route to mirror"):
        Runner(table, quiet(3)).run()
    assert ran == []


def test_a_run_after_an_error_goes_on_where_the_first_stopped() -> None:
    made: set[str] = set()
    attempts = iter([True, False])

    def build() -> None:
        if next(attempts):
            raise RuntimeError("interrupted")
        made.add("build")

    ran: list[str] = []

    def fetch() -> None:
        ran.append("fetch")
        made.add("fetch")

    def table() -> list[Task]:
        return [
            Task("fetch", "fetching", fetch, is_done=lambda: "fetch" in made),
            Task("build", "building", build, needs=("fetch",), is_done=lambda: "build" in made),
        ]

    with pytest.raises(RuntimeError):
        Runner(table(), quiet(2)).run()
    Runner(table(), quiet(2)).run()
    assert ran == ["fetch"]
    assert made == {"fetch", "build"}


def test_progress_says_how_far_how_long_and_what_comes_next() -> None:
    out = io.StringIO()
    seconds = iter([0.0, 0.0, 0.0, 252.0, 252.0, 252.0])
    progress = Progress(17, out=out, clock=lambda: next(seconds, 252.0))
    progress.finished = 3
    progress.say("compiling coredns … next: compiling helm")
    assert out.getvalue().startswith("[ 3/17] 0")
    assert "compiling coredns … next: compiling helm" in out.getvalue()


def test_a_long_step_is_not_silent() -> None:
    out = io.StringIO()
    hold = threading.Event()
    timer = threading.Timer(1.2, hold.set)
    timer.start()
    Runner([task("slow", action=lambda: assert_set(hold))], Progress(1, out=out), heartbeat=0.2).run()
    timer.join()
    assert "still making slow" in out.getvalue()


def assert_set(event: threading.Event) -> None:
    assert event.wait(5)
