"""The stories are played once, by the code of `make demo`, in their own namespace; the tests are claims about them.

Each fixture is one play; a test asks for those it is about. Not here: how a story is played (demo/src/serin_demo).
"""

from collections.abc import Iterator

import pytest
from e2e.bench import Bench
from e2e.scene import scene
from serin_demo import plan, prepare
from serin_demo.prepare import Cluster
from serin_demo.progress import Progress
from serin_demo.stories import Player, Record

NAMESPACE = "serin-e2e"
BENCH = pytest.StashKey[Bench]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--training-faults", action="store_true", help="play what clusters do to training as well")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "training_faults: played by `make test-training-faults` only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--training-faults"):
        return
    left_out = [item for item in items if item.get_closest_marker("training_faults")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="module", autouse=True)
def described(request: pytest.FixtureRequest) -> None:
    """Lets the lines of progress say which play it is, also while it has nothing to tell."""
    if "bench" in request.fixturenames:
        request.getfixturevalue("progress").step(request.path.stem)


def pytest_exception_interact(node: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """A play that breaks off shows the cluster as it was then; its other tests fail for the same reason."""
    bench = node.config.stash.get(BENCH, None)
    if bench and call.excinfo and not isinstance(call.excinfo.value, AssertionError):
        reason = str(call.excinfo.value)
        if reason not in bench.scenes:
            bench.scenes[reason] = scene(bench.cluster.kubectl, bench.namespaces)
            report.sections.append(("the cluster when it failed", bench.scenes[reason]))


@pytest.fixture(scope="session")
def progress(request: pytest.FixtureRequest) -> Iterator[Progress]:
    """Lines for the person who waits; `make test-e2e` lets them through (-s)."""
    with Progress(list(dict.fromkeys(item.path.stem for item in request.session.items))) as found:
        yield found


@pytest.fixture(scope="session")
def cluster(progress: Progress) -> Cluster:
    """A cluster with Serin in it, as `make demo` makes it."""
    found = prepare.prepare_cluster(progress)
    prepare.install_serin(found, progress)
    return found


@pytest.fixture(scope="session")
def bench(cluster: Cluster, progress: Progress, pytestconfig: pytest.Config) -> Iterator[Bench]:
    """Makes namespaces with volumes, data and a model, and removes them afterwards."""
    found = pytestconfig.stash[BENCH] = Bench(cluster, progress)
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
