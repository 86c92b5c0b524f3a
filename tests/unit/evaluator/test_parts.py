"""A pod that is killed loses a few seconds of measuring, and the next one makes the same numbers of the rest."""

import gzip
from pathlib import Path

import pytest
from serin_evaluator.cache import Entry, ScoreCache
from serin_evaluator.measured import Generation, Likelihood
from serin_evaluator.parts import EVERY_SECONDS, Parts

IDENTITY = {"kind": "Likelihood", "model": "sha256:aa"}
BATCH, NEXT = {3: Likelihood(1.5, 4, 2), 9: Likelihood(2.5, 1, 0)}, {4: Likelihood(0.5, 2, 2)}


class Clock:
    """Says what it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def kept(folder: Path, *batches: dict[int, Likelihood]) -> None:
    """A pod that measured these and was killed."""
    clock = Clock()
    parts = Parts(folder, Likelihood, clock)
    for batch in batches:
        clock.now += EVERY_SECONDS
        parts.keep(batch)


def test_what_was_measured_before_is_known_by_whole_batches(tmp_path: Path) -> None:
    kept(tmp_path / "parts", BATCH, NEXT)

    found = Parts(tmp_path / "parts", Likelihood)

    assert found.of([3, 9]) == BATCH
    assert found.of([4]) == NEXT
    assert found.of([4, 5]) is None


def test_batches_that_come_quickly_are_kept_together_and_the_last_seconds_are_lost(tmp_path: Path) -> None:
    clock = Clock()
    parts = Parts(tmp_path / "parts", Likelihood, clock)
    parts.keep(BATCH)
    assert not (tmp_path / "parts").exists()

    clock.now = EVERY_SECONDS
    parts.keep(NEXT)
    parts.keep({7: Likelihood(1.0, 1, 1)})

    assert len(list((tmp_path / "parts").iterdir())) == 1
    assert Parts(tmp_path / "parts", Likelihood).known == {**BATCH, **NEXT}


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"{"), gzip.compress(b'{"3": {"x": 1}}')],
    ids=["empty", "no gzip", "no JSON", "not of this kind"],
)
def test_a_damaged_part_is_measured_again(tmp_path: Path, content: bytes) -> None:
    kept(tmp_path, BATCH, NEXT)
    (tmp_path / "3-9-2.json.gz").write_bytes(content)

    found = Parts(tmp_path, Likelihood)

    assert found.of([3, 9]) is None
    assert found.of([4]) == NEXT


def test_a_part_that_is_half_written_is_not_seen(tmp_path: Path) -> None:
    (tmp_path / ".3-9-2.json.gz.17").write_bytes(b"half")

    assert Parts(tmp_path, Likelihood).known == {}


def test_parts_are_those_of_one_model_and_setting_and_go_when_the_entry_is_whole(tmp_path: Path) -> None:
    cache, clock = ScoreCache(tmp_path), Clock()
    parts = cache.parts(IDENTITY, Likelihood)
    parts._clock = clock
    clock.now = 1e9
    parts.keep(BATCH)
    assert cache.parts(IDENTITY, Likelihood).known == BATCH
    assert cache.parts({**IDENTITY, "model": "sha256:bb"}, Likelihood).known == {}

    cache.put(IDENTITY, Entry(BATCH, ()))
    parts.done()

    assert cache.parts(IDENTITY, Likelihood).known == {}
    assert [path.suffix for path in tmp_path.iterdir()] == [".gz"]


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    clock = Clock()
    parts = Parts(tmp_path, Generation, clock)
    clock.now = EVERY_SECONDS
    parts.keep({1: Generation("é\n", 2, "stop")})

    assert Parts(tmp_path, Generation).known == {1: Generation("é\n", 2, "stop")}


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept(tmp_path / "file" / "parts", BATCH)
    parts = Parts(None, Likelihood)
    parts.keep(BATCH)
    parts.done()

    assert parts.of([3]) is None
