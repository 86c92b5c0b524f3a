"""Shards are read without running anything that they name, and damage is told as damage."""

from pathlib import Path

import numpy as np
import pytest
from serin_trainer import archive
from serin_trainer.errors import DataError
from serin_trainer.tensors import whole
from support.torch_archive import call, mapping, numbers, tensor, text, write

NUMBERS = np.arange(12, dtype="<f4")


def _file(folder: Path, document: bytes) -> Path:
    return write(folder / "shard.pt", document, r0=NUMBERS.tobytes())


def test_a_tensor_is_described_and_read_when_it_is_wanted(tmp_path: Path) -> None:
    path = _file(tmp_path, mapping(weight=tensor("0", (2, 3), (3, 1), offset=4, length=12)))
    found = archive.load(path)["weight"]
    assert (found.dtype, found.shape) == ("F32", (2, 3))
    assert np.array_equal(whole(found), [[4, 5, 6], [7, 8, 9]])


def test_a_transposed_tensor_is_put_in_order(tmp_path: Path) -> None:
    path = _file(tmp_path, mapping(weight=tensor("0", (4, 3), (1, 4), length=12)))
    assert np.array_equal(whole(archive.load(path)["weight"]), NUMBERS.reshape(3, 4).T)


@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("posix", "system"), ("builtins", "exec"), ("builtins", "getattr")]
)
def test_what_a_pickle_names_is_not_run(tmp_path: Path, module: str, name: str) -> None:
    victim = tmp_path / "victim"
    path = _file(tmp_path, mapping(trap=call(module, name, text(f"touch {victim}")), kept=numbers((1, 2))))
    found = archive.load(path)
    assert found["kept"] == (1, 2)
    assert isinstance(found["trap"], archive.Inert)
    assert not victim.exists()


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(mapping(w=tensor("0", (13,), (1,), length=13)), id="a record too short for its storage"),
        pytest.param(mapping(w=tensor("0", (13,), (1,), length=12)), id="a tensor beyond its storage"),
        pytest.param(mapping(w=tensor("0", (2,), (1,), offset=-1, length=12)), id="a tensor before its storage"),
        pytest.param(mapping(w=tensor("7", (1,), (1,), length=1)), id="a record that is not there"),
        pytest.param(b"}(", id="a pickle that ends too early"),
    ],
)
def test_what_does_not_fit_is_damage(tmp_path: Path, document: bytes) -> None:
    with pytest.raises(DataError, match=r"shard\.pt cannot be read"):
        archive.load(_file(tmp_path, document))


def test_a_file_that_is_cut_anywhere_is_damage(tmp_path: Path) -> None:
    path = _file(tmp_path, mapping(weight=tensor("0", (12,), (1,), length=12)))
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(DataError):
            archive.load(path)


def test_a_flipped_bit_in_the_description_never_ends_in_anything_but_damage(tmp_path: Path) -> None:
    path = _file(tmp_path, mapping(weight=tensor("0", (3, 4), (4, 1), length=12)))
    content = path.read_bytes()
    found = 0
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        try:
            archive.load(path)
        except DataError:
            found += 1
    assert (
        found > len(content) // 4
    )  # the rest are names and numbers of other weights: the marker's hash is there for those
