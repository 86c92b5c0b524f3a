"""Leftovers of an interrupted run go, and what a living one works on stays."""

from __future__ import annotations

import os
from pathlib import Path

from serin_devcluster.paths import Paths
from serin_devcluster.scratch import clean, unfinished

NO_PROCESS = 2**22 + 1  # above the kernel's largest process id


def test_what_a_dead_process_left_goes_and_what_a_living_one_makes_stays(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    mine = unfinished(paths, "layout")
    mine.mkdir()
    dead = paths.scratch / f"layout.{NO_PROCESS}"
    dead.mkdir()
    foreign = paths.scratch / "buildah123"
    foreign.mkdir()
    clean(paths)
    assert mine.exists()
    assert not dead.exists()
    assert foreign.exists()


def test_temporary_files_of_yesterday_go(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.scratch.mkdir()
    old = paths.scratch / "storage99"
    old.write_text("")
    os.utime(old, (0, 0))
    clean(paths)
    assert not old.exists()


def test_a_place_is_fresh_each_time(tmp_path: Path) -> None:
    place = unfinished(Paths(tmp_path), "kubernetes-abc")
    place.mkdir()
    (place / "half").write_text("")
    assert not unfinished(Paths(tmp_path), "kubernetes-abc").exists()
