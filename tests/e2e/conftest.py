"""The stories are played once, by the code of `make demo`, in their own namespace; the tests are claims about them.

Each fixture is one play; a test asks for those it is about. Not here: how a story is played (demo/src/serin_demo).
"""

from collections.abc import Iterator

import pytest
from e2e.bench import Bench
from serin_demo import plan, prepare
from serin_demo.prepare import Cluster
from serin_demo.progress import Progress
from serin_demo.stories import Player, Record

NAMESPACE = "serin-e2e"


@pytest.fixture(scope="session")
def progress() -> Iterator[Progress]:
    """Lines for the person who waits; `make test-e2e` lets them through (-s)."""
    with Progress(["Tests"]) as found:
        yield found


@pytest.fixture(scope="session")
def cluster(progress: Progress) -> Cluster:
    """A cluster with Serin in it, as `make demo` makes it."""
    found = prepare.prepare_cluster(progress)
    prepare.install_serin(found, progress)
    return found


@pytest.fixture(scope="session")
def bench(cluster: Cluster, progress: Progress) -> Iterator[Bench]:
    """Makes namespaces with volumes, data and a model, and removes them afterwards."""
    found = Bench(cluster, progress)
    yield found
    found.clear()


@pytest.fixture(scope="session")
def player(bench: Bench) -> Player:
    """The namespace of the stories, with the demo's own data and model."""
    return bench.stage(NAMESPACE, plan.SCRATCH_ARGUMENTS)


@pytest.fixture(scope="session")
def base(player: Player) -> Record:
    return player.play_base()


@pytest.fixture(scope="session")
def good(player: Player, base: Record) -> Record:
    return player.play(plan.GOOD)


@pytest.fixture(scope="session")
def bad(player: Player, good: Record) -> Record:
    return player.play(plan.BAD)


@pytest.fixture(scope="session")
def citizen(player: Player, bad: Record) -> Record:
    return player.play(plan.CITIZEN)
