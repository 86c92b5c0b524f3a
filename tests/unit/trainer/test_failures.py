"""Of several processes that fail, the one is heard that began it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from serin_trainer import failures, torchrun
from serin_trainer.errors import DataError, PeerLostError, StageError, TryAgainError

REAL = DataError("DataDamaged", "row 7 is torn", "prepare again")
LOST = PeerLostError("PeerLost", "another training process went away")
STOPPED = TryAgainError("Interrupted", "asked to stop at step 3")
GLOO = RuntimeError("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.1]:5")


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "failures"
    folder.mkdir()
    monkeypatch.setenv(failures.FOLDER, str(folder))
    monkeypatch.setenv("SERIN_RESULT_PATH", str(tmp_path / "log"))
    return folder


@pytest.fixture
def ends(pod: Path, monkeypatch: pytest.MonkeyPatch):
    """Processes that end with these errors, one after the other."""
    clock = iter(range(100))
    monkeypatch.setattr(failures.time, "time", lambda: float(next(clock)))

    def end(*who: tuple[int, BaseException]) -> list[int]:
        codes: list[int] = []
        for rank, error in who:
            monkeypatch.setenv("RANK", str(rank))
            monkeypatch.setenv("LOCAL_RANK", str(rank))
            codes.append(failures.fail("Train", "4f00bb", None, error))
        return codes

    return end


def _said(pod: Path) -> dict[str, object]:
    return json.loads((pod.parent / "log").read_bytes())


@pytest.mark.parametrize(
    ("processes", "killed", "reason", "code"),
    [
        pytest.param([(1, REAL), (0, LOST)], {}, "DataDamaged", 65, id="of rank 1, and rank 0 lost it"),
        pytest.param([(0, LOST), (1, REAL)], {}, "DataDamaged", 65, id="who lost it was quicker to say so"),
        pytest.param([(0, STOPPED), (1, REAL)], {}, "DataDamaged", 65, id="who was told to stop was quicker"),
        pytest.param([(0, GLOO), (1, REAL)], {}, "DataDamaged", 65, id="gloo's own words are a follow-up"),
        pytest.param([(2, REAL), (1, ValueError("later"))], {}, "DataDamaged", 65, id="the first of two real ones"),
        pytest.param([(0, LOST)], {1: 9}, "ProcessKilled", 137, id="killed without a word"),
        pytest.param([(0, REAL)], {1: 9}, "DataDamaged", 65, id="killed by its peers' watchdog"),
        pytest.param([], {3: 11, 2: 7}, "ProcessKilled", 135, id="two crashed, the first rank is named"),
        pytest.param([(1, LOST), (0, LOST)], {}, "PeerLost", 1, id="all lost somebody in another pod"),
        pytest.param([(1, STOPPED)], {}, "Interrupted", 75, id="only told to stop"),
    ],
)
def test_the_pod_says_what_began_it(
    pod: Path, ends, processes: list[tuple[int, BaseException]], killed: dict[int, int], reason: str, code: int
) -> None:
    ends(*processes)
    assert torchrun.told(pod, killed) == code
    assert _said(pod)["reason"] == reason
    assert _said(pod)["stage"] == "Train"


def test_a_killed_process_is_named_with_its_signal_and_its_stages_key(pod: Path, ends) -> None:
    ends((0, LOST))
    torchrun.told(pod, {1: 9})
    assert _said(pod)["message"] == "training process 1 was killed by SIGKILL"
    assert _said(pod)["key"] == "4f00bb"


def test_where_nobody_said_anything_the_code_is_torchruns(pod: Path) -> None:
    assert torchrun.told(pod, {}) == 0
    assert not (pod.parent / "log").exists()


def test_what_cannot_be_read_does_not_hide_the_exit_code(pod: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pod / "rank-0.json").write_text("{torn")
    assert torchrun.told(pod, {}) == 0
    assert "could not be told" in capsys.readouterr().err


def test_a_process_without_a_launcher_only_speaks(pod: Path, ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(failures.FOLDER)
    assert ends((0, REAL)) == [65]
    assert _said(pod)["reason"] == "DataDamaged"
    assert list(pod.iterdir()) == []


def test_an_unforeseen_error_keeps_its_traceback(pod: Path, ends, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends((1, KeyError("weights"))) == [1]
    assert "KeyError: 'weights'" in capsys.readouterr().err
    assert failures.first(pod, {}) is not None


def test_follow_ups_are_known_by_the_words_that_are_used() -> None:
    assert {error.reason for error in (LOST, STOPPED)} == failures.FOLLOW_UPS
    assert issubclass(StageError, Exception)


def test_a_stopped_process_is_spoken_for_and_its_peers_are_not_heard(ends, pod: Path) -> None:
    failures.stopped(1, 20.4)
    ends((0, LOST))
    assert torchrun.told(pod, {1: 9}) == 1
    assert _said(pod)["reason"] == "TrainingHung"
    assert "training process 1 was stopped (SIGSTOP) for 20 s" in str(_said(pod)["message"])


def test_a_stopped_process_that_is_none_of_the_training_is_not_spoken_for(pod: Path) -> None:
    failures.stopped(None, 20.4)
    assert list(pod.iterdir()) == []


@pytest.mark.parametrize(
    ("processes", "killed", "only_lost"),
    [
        pytest.param([(0, LOST)], {}, True, id="it lost a peer"),
        pytest.param([(0, LOST), (1, GLOO)], {}, True, id="both did"),
        pytest.param([(0, LOST), (1, REAL)], {}, False, id="one failed itself"),
        pytest.param([(0, LOST)], {1: 9}, False, id="one was killed here"),
        pytest.param([(0, STOPPED)], {}, False, id="it was asked to stop"),
        pytest.param([], {}, False, id="nobody said anything"),
    ],
)
def test_a_pod_that_only_lost_a_peer_is_known(
    ends, pod: Path, processes: list[tuple[int, BaseException]], killed: dict[int, int], only_lost: bool
) -> None:
    ends(*processes)
    assert failures.only_lost_a_peer(pod, killed) is only_lost


class Asked(BaseException):
    """What torchrun's handler raises when the pod is asked to go."""


def test_it_gives_the_peer_some_seconds_unless_it_is_asked_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        raise Asked

    monkeypatch.setattr(torchrun.time, "sleep", sleep)
    torchrun.let_the_peer_end_first(Asked)
    assert slept == [torchrun.SECONDS_FOR_THE_PEER]
