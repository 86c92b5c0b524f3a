"""One control plane for all tests of a process; every test takes a fresh namespace of it.

Three processes share the tests (`-n 3`): in one the stories, which compute, in the others what mostly waits.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.harness import report
from faults.harness.actors import Actors
from faults.harness.operators import Zygote
from faults.harness.options import Options
from faults.harness.plane import Plane
from faults.harness.progress import Progress
from faults.harness.sweep import Sweep
from faults.harness.telling import Teller
from serin_devcluster.errors import DevclusterError
from xdist.scheduler import LoadScopeScheduling

STORIES = ("test_each_write", "test_older_views", "test_pressure")
KINDER = 5  # by which the stories' processes are nicer than those of tests that measure how soon something is seen
SEED = 7  # fixed: a test that fails tomorrow and not today stops somebody who changed nothing


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--sweep", choices=("part", "full"), default="part", help="some points of each flow, or all")
    group.addoption("--seed", type=int, default=SEED, help="picks the points; the same each time unless it is given")
    group.addoption("--point", default="", help="one point only, as a failure names it: promotion#7-after")
    group.addoption("--workers", type=int, default=8, help="stories told at the same time")


def pytest_configure(config: pytest.Config) -> None:
    # Millions of audit events live as long as their stories: looking through them all stops every proxy for a second.
    gc.set_threshold(10_000, 20, 10)
    config.addinivalue_line("markers", "whole_sweep: left out of --sweep=part")


class Shared(LoadScopeScheduling):
    """All that tells stories is one process's, and so is each other file: they share what is costly to make."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::")[0]
        return "stories" if Path(path).stem in STORIES else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Shared:
    return Shared(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What only the whole sweep tells is left out, unless a point or a test was asked for by name."""
    if config.getoption("--sweep") == "full" or config.getoption("keyword"):
        return
    left_out = [item for item in items if item.get_closest_marker("whole_sweep")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def options(pytestconfig: pytest.Config) -> Options:
    ask = pytestconfig.getoption
    return Options(ask("--sweep") == "full", ask("--seed"), ask("--point"), ask("--workers"))


def pytest_report_header(config: pytest.Config) -> str:
    return f"faults: --sweep={config.getoption('--sweep')} --seed={config.getoption('--seed')}"


@pytest.fixture(scope="session")
def plane() -> Iterator[Plane]:
    try:
        found = Plane().__enter__()
    except DevclusterError as error:
        pytest.fail(str(error))  # a missing program names `make tools`
    yield found
    found.__exit__(None, None, None)


@pytest.fixture
def namespace(plane: Plane) -> str:
    return plane.namespace()


@pytest.fixture(scope="session")
def actors(plane: Plane) -> Iterator[Actors]:
    with Actors(plane) as found:
        yield found


@pytest.fixture(scope="session")
def kinder() -> None:
    """Operators started from now on, and this process, give way to the other processes of tests, if there are any."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.nice(KINDER)


@pytest.fixture(scope="session")
def sweep(kinder: None, plane: Plane, actors: Actors, options: Options) -> Iterator[Sweep]:
    progress = Progress(report.CHECKOUT / "build" / "faults-progress.txt")
    found = Sweep(Teller(plane, actors, options.seed), options.workers, progress)
    yield found
    found.close()


@pytest.fixture(scope="session", autouse=True)
def ends(options: Options) -> Iterator[None]:
    """The operators' parent goes with the session, and what was found is written down."""
    yield
    Zygote.close_shared()
    report.write(report.FAULTS if options.full else report.PART)
