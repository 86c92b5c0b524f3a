"""TensorBoard's files and a server together: one warning of both, said once, gone when nothing fails any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from serin_trainer.metrics import TrainMetrics
from serin_trainer.result import Warned
from serin_trainer.telling import Teller
from serin_trainer.trackers import MOST_LETTERS, Trackers
from serin_trainer.tracking import Curves
from support.event_files import curves

ENTRY: dict[str, Any] = {"loss": 2.0, "step": 1, "time": 100.0}
PAGE = "http://mlflow:5000/#/experiments/1/runs/0"


class PlayedTeller(Teller[Any]):
    """One that says what a test wants it to, and starts no thread."""

    def __init__(self, who: str = "MLflow") -> None:
        self.who = who
        self.said: list[Any] = []
        self.wrong = ""
        self.where: str | None = None

    @property
    def page(self) -> str | None:
        return self.where

    @property
    def failure(self) -> Warned | None:
        return Warned(reason="TrackingFailed", message=self.wrong) if self.wrong else None

    def begin(self, history: Any) -> None:
        self.said.append(("begin", list(history)))

    def add(self, entry: Any) -> None:
        self.said.append(("add", entry))

    def end(self, status: str | None) -> None:
        self.said.append(("end", status))

    def wait(self, within: float) -> None:
        self.said.append(("wait", within > 9))


class Played:
    def __init__(self, folder: Path, *tellers: Teller[Any]) -> None:
        self.log: list[str] = []
        self.metrics = TrainMetrics()
        self.trackers = Trackers(Curves(folder, 1), tellers, self.metrics.warnings, self.log.append)

    @property
    def shown(self) -> list[str]:
        """The messages that Prometheus, and so the operator, sees."""
        [family] = self.metrics.warnings.collect()
        return [sample.labels["message"] for sample in family.samples]


@pytest.fixture
def teller() -> PlayedTeller:
    return PlayedTeller()


@pytest.fixture
def played(tmp_path: Path, teller: PlayedTeller) -> Played:
    return Played(tmp_path, teller)


def test_both_are_told_of_all_there_is(tmp_path: Path, teller: PlayedTeller, played: Played) -> None:
    played.trackers.begin([ENTRY])
    played.trackers.add({**ENTRY, "step": 2})
    played.trackers.finish("FINISHED", 10.0)
    assert teller.said == [("begin", [ENTRY]), ("add", {**ENTRY, "step": 2}), ("end", "FINISHED"), ("wait", True)]
    assert curves(tmp_path / "tensorboard")["loss"] == [(1, 2.0), (2, 2.0)]
    assert (played.log, played.shown, played.trackers.failure) == ([], [], None)


def test_without_a_server_the_files_are_written_all_the_same(tmp_path: Path) -> None:
    played = Played(tmp_path)
    played.trackers.begin([ENTRY])
    played.trackers.finish("FINISHED", 10.0)
    assert curves(tmp_path / "tensorboard")["loss"] == [(1, 2.0)]
    assert (played.trackers.pages, played.trackers.failure) == ({}, None)


def test_the_page_of_the_run_is_said_once_when_the_server_has_named_it(teller: PlayedTeller, played: Played) -> None:
    played.trackers.begin([])
    teller.where = PAGE
    for step in (1, 2):
        played.trackers.add({**ENTRY, "step": step})
    assert played.log == [f"MLflow shows this run: {PAGE}"]
    assert played.trackers.pages == {"MLflow": PAGE}


def test_of_two_servers_each_is_told_and_named_and_the_last_words_to_both_take_no_longer_than_to_one(
    tmp_path: Path, teller: PlayedTeller
) -> None:
    other = PlayedTeller("W&B")
    played = Played(tmp_path, teller, other)
    played.trackers.begin([ENTRY])
    other.where, teller.wrong = "https://wandb.example.com/bot/runs/1", "MLflow is away"
    played.trackers.finish("FAILED", 10.0)
    assert teller.said == other.said == [("begin", [ENTRY]), ("end", "FAILED"), ("wait", True)]
    assert played.trackers.pages == {"W&B": "https://wandb.example.com/bot/runs/1"}
    assert played.log == [
        "W&B shows this run: https://wandb.example.com/bot/runs/1",
        "warning: TrackingFailed: MLflow is away",
    ]


def test_what_cannot_be_told_is_said_once_shown_while_it_lasts_and_then_taken_back(
    teller: PlayedTeller, played: Played
) -> None:
    played.trackers.begin([])
    teller.wrong = "MLflow is away"
    for step in (1, 2):
        played.trackers.add({**ENTRY, "step": step})
    assert played.log == ["warning: TrackingFailed: MLflow is away"]
    assert played.shown == ["MLflow is away"]
    assert played.trackers.failure == Warned(reason="TrackingFailed", message="MLflow is away")
    teller.wrong = ""
    played.trackers.add({**ENTRY, "step": 3})
    assert played.log[1:] == ["tracking works again: what had waited was told"]
    assert (played.shown, played.trackers.failure) == ([], None)


def test_two_failures_are_one_warning_and_each_is_said_once(
    tmp_path: Path, teller: PlayedTeller, played: Played
) -> None:
    (tmp_path / "tensorboard").write_text("in the way")
    played.trackers.begin([])
    teller.wrong = "MLflow is away"
    played.trackers.add(ENTRY)
    [files, server] = played.log
    assert files.startswith("warning: TrackingFailed: the TensorBoard files end here")
    assert server == "warning: TrackingFailed: MLflow is away"
    [shown] = played.shown
    assert shown.startswith("the TensorBoard files end here")
    assert shown.endswith("; MLflow is away")
    assert played.trackers.failure == Warned(reason="TrackingFailed", message=shown)


def test_a_warning_is_no_longer_than_the_operator_takes(teller: PlayedTeller, played: Played) -> None:
    from serin_operator.api.v1alpha1 import TrainingWarning

    teller.wrong = "x" * 5000
    played.trackers.begin([])
    failure = played.trackers.failure
    assert failure is not None
    assert len(failure.message) == MOST_LETTERS
    TrainingWarning.model_validate(failure.model_dump())
