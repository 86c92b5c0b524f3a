"""Daemons are found again by later commands, and never mistaken for another process with the same id."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from serin_devcluster.errors import DevclusterError
from serin_devcluster.processes import Child, Daemon, recorded_pid, wait_until, without_proxies, write_record

SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")


def daemon(folder: Path, argv: tuple[str, ...] = SLEEP) -> Daemon:
    return Daemon("sleeper", argv, folder / "run", folder / "log")


def test_a_daemon_is_found_again_and_stopped_by_its_record(tmp_path: Path) -> None:
    daemon(tmp_path).start()
    try:
        pid = daemon(tmp_path).pid()
        assert pid is not None
    finally:
        daemon(tmp_path).stop()
    assert daemon(tmp_path).pid() is None
    assert not daemon(tmp_path).was_started()


def test_starting_a_running_daemon_changes_nothing(tmp_path: Path) -> None:
    one = daemon(tmp_path)
    one.start()
    try:
        before = one.pid()
        one.start()
        assert one.pid() == before
    finally:
        one.stop()


def test_a_daemon_that_died_is_known_to_have_been_started_and_leaves_its_last_words(tmp_path: Path) -> None:
    one = daemon(tmp_path, (sys.executable, "-c", "print('port is taken'); raise SystemExit(1)"))
    one.start()
    assert wait_until(lambda: one.pid() is None, 60)
    assert one.was_started()
    assert "port is taken" in one.last_words()


def test_a_record_with_another_start_time_names_nobody(tmp_path: Path) -> None:
    one = daemon(tmp_path)
    one.start()
    try:
        pid = one.pid()
        boot = one.record.read_text().split()[2]
        one.record.write_text(f"{pid} 1 {boot}\n")
        assert one.pid() is None
        assert pid is not None
        write_record(one.record, pid)
        assert one.pid() == pid
    finally:
        one.stop()


def test_a_record_of_an_earlier_boot_or_a_torn_one_names_nobody(tmp_path: Path) -> None:
    record = tmp_path / "x.pid"
    for text in ("", "12", "1 1 another-boot"):
        record.write_text(text)
        assert recorded_pid(record) is None


def test_a_child_that_ends_early_is_an_error_with_its_output(tmp_path: Path) -> None:
    child = Child("etcd", [sys.executable, "-c", "print('no space left')"], tmp_path / "log")
    child.process.wait()
    with pytest.raises(DevclusterError, match="no space left"):
        child.ensure_alive()


def test_programs_of_the_cluster_get_no_proxy_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com")
    monkeypatch.setenv("no_proxy", "x")
    assert not [name for name in without_proxies() if name.lower().endswith("_proxy")]
