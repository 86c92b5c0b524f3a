"""The disk check says what to do before it is too late."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
from serin_devcluster import disk
from serin_devcluster.errors import DevclusterError


class Usage(NamedTuple):
    free: int


def with_free(monkeypatch: pytest.MonkeyPatch, gib: float) -> None:
    def usage(_: Any) -> Usage:
        return Usage(int(gib * disk.GIB))

    monkeypatch.setattr(disk.shutil, "disk_usage", usage)


def test_a_first_build_is_refused_below_thirty_gigabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, 29.4)
    with pytest.raises(DevclusterError, match=r"29\.4 GB are free .* needs 30 GB.*SERIN_CACHE"):
        disk.require_free(tmp_path / "not" / "there" / "yet", disk.COLD_GIB)


def test_a_warm_start_needs_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, 6)
    disk.require_free(tmp_path, disk.WARM_GIB)


def test_hard_links_count_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1_000_000)
    before = disk.used_gib(tmp_path)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert disk.used_gib(tmp_path) == before
