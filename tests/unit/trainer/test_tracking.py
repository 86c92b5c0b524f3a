"""Curves for TensorBoard: the bytes that its own library writes, each point once, and no failure that training feels."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from serin_trainer.event_file import EventFile, crc32c
from serin_trainer.tracking import Curves, points
from support.event_files import curves

# The version, the start of a session at step 7 and two points, as tensorboardX 2.6 writes them, with 1.5, 2.5 and
# 1234567890.25 as their times.
WRITTEN_BY_TENSORBOARDX = bytes.fromhex(
    "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c0f000000000000006d53"
    "2b0909000000000000044010073a0208019aaf83ce31000000000000009d8383e909000090b48065d24110ac022a230a0b0a"
    "046c6f7373150000003f0a140a0d6772616469656e745f6e6f726d150000a03faf019b9f"
)
LOG: list[dict[str, Any]] = [
    {
        "loss": 2.0,
        "learning_rate": 0.1,
        "grad_norm": 1.5,
        "tokens_per_second": 10.0,
        "step": 1,
        "time": 100.0,
        "epoch": 0,
    },
    {"eval_loss": 1.75, "eval_runtime": 3.0, "step": 1, "time": 101.0},
    {"loss": 1.0, "learning_rate": 0.2, "grad_norm": None, "step": 2, "time": 102.0},
]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is when: the last one stays."""
    times = [1.5]
    monkeypatch.setattr("time.time", lambda: times.pop(0) if len(times) > 1 else times[0])
    return times


def test_the_bytes_are_those_of_a_library_that_tensorboard_reads(tmp_path: Path, clock: list[float]) -> None:
    clock.append(2.5)
    file = EventFile(tmp_path / "events")
    file.forget(7)
    file.scalars(300, {"loss": 0.5, "gradient_norm": 1.25}, 1234567890.25)
    file.flush()
    assert (tmp_path / "events").read_bytes() == WRITTEN_BY_TENSORBOARDX


@pytest.mark.parametrize(
    ("content", "sum_of_it"),
    [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)],
)
def test_the_checksum_is_that_of_rfc_3720(content: bytes, sum_of_it: int) -> None:
    assert crc32c(content) == sum_of_it


def test_steps_of_more_than_seven_bits_and_losses_that_are_no_number_are_kept(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "a" / "events.out.tfevents.1")
    for step in (0, 127, 128, 10_000_000):
        file.scalars(step, {"loss": float("nan") if step == 128 else step}, 1.0)
    file.flush()
    read = curves(tmp_path / "a")["loss"]
    assert [step for step, _ in read] == [0, 127, 128, 10_000_000]
    assert [value for _, value in read if value == value] == [0, 127, 10_000_000]


def test_what_is_logged_becomes_curves_with_the_names_of_the_metrics() -> None:
    found = points(LOG)
    assert [(point.step, point.at) for point in found] == [(1, 100.0), (1, 101.0), (2, 102.0)]
    assert found[0].values == {"loss": 2.0, "learning_rate": 0.1, "gradient_norm": 1.5, "tokens_per_second": 10.0}
    assert found[1].values == {"eval_loss": 1.75}
    assert found[2].values == {"loss": 1.0, "learning_rate": 0.2}


def test_every_curve_is_a_metric_of_prometheus_too() -> None:
    from serin_trainer.metrics import TrainMetrics
    from serin_trainer.tracking import CURVES

    metrics = {family.name for family in TrainMetrics().registry.collect()}
    assert {f"serin_train_{name}" for name in CURVES.values()} <= metrics


def test_entries_of_a_checkpoint_from_before_there_were_times_are_drawn_now(clock: list[float]) -> None:
    assert points([{"loss": 2.0, "step": 3}])[0].at == 1.5


def test_a_resumed_attempt_has_each_point_once_and_none_of_steps_that_were_lost(tmp_path: Path) -> None:
    first = Curves(tmp_path, attempt=1)
    first.begin([])
    for entry in [*LOG, {"loss": 0.7, "step": 3, "time": 103.0}]:
        first.add(entry)
    assert [step for step, _ in curves(tmp_path / "tensorboard")["loss"]] == [1, 2, 3]
    second = Curves(tmp_path, attempt=2)
    second.begin(LOG)
    second.add({"loss": 0.5, "step": 3, "time": 200.0})
    assert curves(tmp_path / "tensorboard")["loss"] == [(1, 2.0), (2, 1.0), (3, 0.5)]
    assert curves(tmp_path / "tensorboard")["eval_loss"] == [(1, 1.75)]
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_the_points_of_before_are_written_before_their_file_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Curves(tmp_path, attempt=1)
    first.begin([])
    first.add(LOG[0])

    def refuse(self: Path, missing_ok: bool = False) -> None:
        assert curves(self.parent)["loss"].count((1, 2.0)) == 2
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    warned = Curves(tmp_path, attempt=2).begin(LOG)
    assert warned is not None
    assert "Permission denied" in warned.message


def test_a_folder_that_cannot_be_written_is_told_of_once_and_then_left_alone(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("in the way")
    tracker = Curves(tmp_path, attempt=1)
    warned = tracker.begin(LOG)
    assert warned is not None
    assert warned.reason == "TrackingFailed"
    assert "training goes on" in warned.message
    assert tracker.add(LOG[0]) is None
    assert tracker.failure == warned


def test_a_disk_that_fills_up_in_the_middle_is_told_of_and_costs_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Curves(tmp_path, attempt=1)
    assert tracker.begin(LOG) is None

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    warned = tracker.add(LOG[0])
    assert warned is not None
    assert "No space left on device" in warned.message
    assert tracker.add(LOG[1]) is None


def test_a_number_beyond_what_a_curve_can_hold_ends_the_curves_and_not_the_training(tmp_path: Path) -> None:
    tracker = Curves(tmp_path, attempt=1)
    tracker.begin([])
    with pytest.raises(OverflowError):
        struct.pack("<f", 1e300)
    assert tracker.add({"loss": 1e300, "step": 1, "time": 1.0}) is not None
