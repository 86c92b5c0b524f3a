"""The batches of one evaluation dealt out to pods: each is measured once, and the last pod finds them all."""

import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from serin_evaluator import sharing
from serin_evaluator.cache import Entry, ScoreCache
from serin_evaluator.config import EvaluateConfig, Model, Suite
from serin_evaluator.errors import ConfigError, TryAgain
from serin_evaluator.measured import Likelihood, Speed
from serin_evaluator.measuring import Task, pending
from serin_evaluator.parts import Parts
from serin_evaluator.progress import Board, Progress, serve
from serin_evaluator.share import ALL, Share, share_of_pod
from serin_evaluator.sharing import measured_by_all
from serin_evaluator.suites import Example, LoadedSuite
from support.evaluation import BASE, CANDIDATE, config_document, suite_document

MODELS = [Model.model_validate(one) for one in (CANDIDATE, BASE)]
LINES = range(1, 12)
TOO_LONG = 11


@given(st.lists(st.integers()), st.integers(min_value=1, max_value=9))
def test_every_batch_is_one_pods(batches: list[int], pods: int) -> None:
    dealt = [list(Share(index, pods).batches(batches)) for index in range(pods)]
    assert sorted(one for of in dealt for one in of) == sorted(batches)
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


@pytest.mark.parametrize(("index", "found"), [("0", Share(0, 3)), ("2", Share(2, 3))])
def test_a_pod_knows_its_share_by_its_index(monkeypatch: pytest.MonkeyPatch, index: str, found: Share) -> None:
    monkeypatch.setenv("JOB_COMPLETION_INDEX", index)
    assert share_of_pod(3) == found
    assert share_of_pod(1) == ALL


@pytest.mark.parametrize("index", ["", "3", "-1", "x"])
def test_an_index_that_is_none_measures_nothing(monkeypatch: pytest.MonkeyPatch, index: str) -> None:
    monkeypatch.setenv("JOB_COMPLETION_INDEX", index)
    with pytest.raises(ConfigError, match="there is no such share"):
        share_of_pod(3)


def test_pods_that_share_need_a_place_to_hand_over() -> None:
    with pytest.raises(ValidationError, match="need a cache"):
        EvaluateConfig.model_validate(config_document(pods=2, cache=None))
    assert EvaluateConfig.model_validate(config_document(pods=2)).pods == 2


# --- parts --------------------------------------------------------------------------------------------------------


def row(line: int) -> Likelihood:
    return Likelihood(line / 3, line, 0)


def test_what_all_pods_handed_over_is_whole(tmp_path: Path) -> None:
    for index in (1, 0):
        assert Parts(tmp_path, Likelihood).whole([1, 2, 3]) is None
        share = Parts(tmp_path, Likelihood, share=Share(index, 2))
        for ids in share.batches([[1], [2]]):
            share.keep({one: row(one) for one in ids})
        share.hand_over([3])
    assert Parts(tmp_path, Likelihood).whole([1, 2, 3]) == ({1: row(1), 2: row(2)}, (3,))


@pytest.mark.parametrize("ids", [[1, 2], [1, 2, 3, 4]], ids=["fewer examples", "more examples"])
def test_what_is_not_of_these_examples_is_not_whole(tmp_path: Path, ids: list[int]) -> None:
    parts = Parts(tmp_path, Likelihood)
    parts.keep({1: row(1), 2: row(2), 3: row(3)})
    parts.hand_over([])
    assert Parts(tmp_path, Likelihood).whole(ids) is None


@pytest.mark.parametrize("content", ["", "{", "3", '["x"]'])
def test_a_torn_hand_over_is_none(tmp_path: Path, content: str) -> None:
    parts = Parts(tmp_path, Likelihood)
    parts.keep({1: row(1)})
    parts.hand_over([])
    (tmp_path / "too-long.json").write_text(content)
    assert Parts(tmp_path, Likelihood).whole([1]) is None


def test_a_share_that_cannot_be_handed_over_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    parts = Parts(tmp_path / "file" / "parts", Likelihood)
    parts.keep({1: row(1)})
    with pytest.raises(TryAgain, match="cannot be handed over"):
        parts.hand_over([])


# --- pods ---------------------------------------------------------------------------------------------------------


def suites() -> list[LoadedSuite]:
    """One suite whose times are measured too."""
    suite = Suite.model_validate(suite_document(metrics=["Perplexity", "TimeToFirstToken"]))
    return [LoadedSuite(suite, "sha256:" + "d" * 64, len(LINES), 0, {one: Example(one, "q", (), "a") for one in LINES})]


class Pods:
    """Measures as a loaded model would, in batches of two, and remembers who measured what."""

    def __init__(self) -> None:
        self.measured: list[tuple[int, str, int]] = []
        self.dies_after: int | None = None

    def measure(self, model: Model, tasks: Sequence[Task], cache: ScoreCache, share: Share) -> None:
        for task in tasks:
            parts: Parts[Any] = cache.parts(task.identity(), task.kind, share)
            fitting = [one for one in task.suite.examples if one != TOO_LONG]
            for ids in parts.batches([fitting[at : at + 2] for at in range(0, len(fitting), 2)]):
                if parts.of(ids) is None:
                    if self.dies_after == len(self.measured):
                        raise KeyboardInterrupt
                    parts.keep({one: row(one) for one in ids})
                    parts.flush()
                    self.measured += [(share.index, model.role, one) for one in ids]
            parts.hand_over([TOO_LONG])


@pytest.fixture
def pods(monkeypatch: pytest.MonkeyPatch) -> Pods:
    found = Pods()
    monkeypatch.setattr(sharing, "measure_tasks", found.measure)
    return found


def run(cache: ScoreCache, index: int, of: int = 3) -> bool:
    return measured_by_all(MODELS, suites(), cache, 7, Share(index, of))


def left(cache: ScoreCache) -> set[str]:
    return {task.kind.__name__ for model in MODELS for task in pending(model, suites(), cache, 7)}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_pod_that_ends_last_finds_all_and_every_example_was_measured_once(
    tmp_path: Path, pods: Pods, order: tuple[int, ...]
) -> None:
    cache = ScoreCache(tmp_path)
    assert [run(cache, index) for index in order] == [False, False, True]
    assert len(pods.measured) == len(set(pods.measured)) == 2 * (len(LINES) - 1)
    assert {index for index, _, _ in pods.measured} == {0, 1, 2}
    assert left(cache) == {"Speed"}, "times are the last pod's to take, alone"
    (entry,) = {str(cache.get(t.identity(), t.kind)) for t in pending_before(MODELS[:1])}
    assert entry == str(Entry({one: row(one) for one in LINES if one != TOO_LONG}, (TOO_LONG,)))


def pending_before(models: list[Model]) -> list[Task]:
    return [
        task for model in models for task in pending(model, suites(), ScoreCache(None), 7) if task.kind is not Speed
    ]


def test_a_pod_that_is_lost_is_run_again_by_itself_and_goes_on_where_it_was(tmp_path: Path, pods: Pods) -> None:
    cache = ScoreCache(tmp_path)
    assert not run(cache, 0)
    pods.dies_after = len(pods.measured) + 2
    with pytest.raises(KeyboardInterrupt):
        run(cache, 1)
    pods.dies_after = None
    assert not run(cache, 2)
    before = list(pods.measured)
    assert run(cache, 1)
    again = pods.measured[len(before) :]
    assert {index for index, _, _ in again} == {1}
    assert not {one[1:] for one in again} & {one[1:] for one in before}


def test_all_that_is_measured_is_not_measured_again_whatever_the_number_of_pods(tmp_path: Path, pods: Pods) -> None:
    cache = ScoreCache(tmp_path)
    run(cache, 0)
    run(cache, 1)
    known = set(pods.measured)
    assert [run(cache, index, of=2) for index in (1, 0)] == [False, True]
    assert len(pods.measured) == 2 * (len(LINES) - 1)
    assert known < set(pods.measured)
    count = len(pods.measured)
    assert run(cache, 0)
    assert len(pods.measured) == count


# --- how far it is ------------------------------------------------------------------------------------------------


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_board_tells_how_far_all_measurements_are_and_when_they_will_be_done() -> None:
    clock = Clock()
    board = Board(clock)
    board.tell("a", 0, 30)
    board.tell("b", 0, 10)
    assert "serin_evaluate_eta_seconds nan" in board.text()
    clock.now += 5
    progress = Progress("a", 30, clock, board)
    progress(10)
    assert "serin_evaluate_examples_done 10\n" in board.text()
    assert "serin_evaluate_examples_total 40\n" in board.text()
    assert "serin_evaluate_eta_seconds 15.0\n" in board.text()
    progress.ended(20)
    assert "serin_evaluate_examples_total 30\n" in board.text()


def test_the_board_is_served_and_a_taken_port_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERIN_METRICS_PORT", "0")
    board = Board(Clock())
    board.tell("a", 1, 2)
    server = serve(board)
    assert server is not None
    port = server.server_address[1]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert answer.read().decode() == board.text()
    monkeypatch.setenv("SERIN_METRICS_PORT", str(port))
    assert serve(board) is None
    server.shutdown()
    server.server_close()
