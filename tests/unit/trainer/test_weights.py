"""safetensors are written in pieces: right to the bit, bounded in memory, and there only when they are whole."""

import hashlib
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serin_trainer import weights
from serin_trainer.errors import DataError
from serin_trainer.tensors import PIECE_BYTES, Computed, Part, Stored, converted, finite, whole
from serin_trainer.weights import Wanted


def _stored(folder: Path, name: str, values: np.ndarray) -> Stored:
    """The numbers in two files, as two processes would have saved them."""
    flat, half = values.astype("<f4").reshape(-1), values.size // 3
    parts = []
    for rank, piece in enumerate((flat[:half], flat[half:])):
        path = folder / f"{name}-{rank}.bin"
        path.write_bytes(b"head" + piece.tobytes())
        parts.append(Part(path, 4, piece.nbytes))
    return Stored("F32", values.shape, tuple(parts))


def test_what_is_written_is_read_back_and_its_hash_is_the_files(tmp_path: Path) -> None:
    values = {"a": np.linspace(-3, 3, 15).reshape(3, 5), "b": np.arange(7.0)}
    tensors = {name: _stored(tmp_path, name, array) for name, array in values.items()}
    wanted = [Wanted(name, "F32", tensor.shape) for name, tensor in tensors.items()]
    (entry,) = weights.write_model(tmp_path, wanted, tensors)
    content = (tmp_path / "model.safetensors").read_bytes()
    assert (entry.sha256, entry.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    for name, found in weights.read_folder(tmp_path).items():
        assert np.array_equal(whole(found), values[name].astype("<f4"))


def test_each_number_lies_at_a_multiple_of_its_width(tmp_path: Path) -> None:
    tensors = {"a": _stored(tmp_path, "a", np.ones(3)), "b": _stored(tmp_path, "b", np.ones(3))}
    weights.write_file(tmp_path / "m.safetensors", [Wanted("a", "BF16", (3,)), Wanted("b", "F32", (3,))], tensors)
    found = weights.read_header(tmp_path / "m.safetensors")
    assert [tensor.parts[0].at % width for tensor, width in zip(found.values(), (4, 2), strict=True)] == [0, 0]
    assert list(found) == ["b", "a"]


def test_files_are_bounded_and_the_index_names_each_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "SHARD_BYTES", 1000)
    tensors = {f"w{number}": _stored(tmp_path, f"w{number}", np.full(70, number)) for number in range(9)}
    written = weights.write_model(tmp_path, [Wanted(name, "F32", (70,)) for name in tensors], tensors)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert len(written) == 3
    assert index["metadata"]["total_size"] == 9 * 280
    assert set(index["weight_map"]) == set(tensors)
    assert set(index["weight_map"].values()) == {entry.path for entry in written}
    assert all(entry.size_bytes <= 1000 + 8 + 1000 for entry in written)


def test_memory_is_that_of_a_piece_however_large_the_weight(tmp_path: Path) -> None:
    peaks = []
    for pieces in (4, 40):
        tensor = _stored(tmp_path, "w", np.ones(pieces * PIECE_BYTES // 4))
        wanted = [Wanted("w", "BF16", tensor.shape)]
        tracemalloc.start()
        weights.write_file(tmp_path / "m.safetensors", wanted, {"w": tensor})
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 8 * PIECE_BYTES
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.parametrize(
    ("value", "dtype"), [(np.nan, "F32"), (np.inf, "F32"), (-np.inf, "BF16"), (1e38, "F16"), (3.4e38, "BF16")]
)
def test_a_number_that_is_none_in_the_outputs_type_ends_it_without_a_file(
    tmp_path: Path, value: float, dtype: str
) -> None:
    tensor = _stored(tmp_path, "w", np.array([1, value, 2]))
    with pytest.raises(DataError, match="w has values that are not finite") as refusal:
        weights.write_file(tmp_path / "m.safetensors", [Wanted("w", dtype, (3,))], {"w": tensor})
    assert refusal.value.reason == "ModelNotFinite"
    assert not (tmp_path / "m.safetensors").exists()


def test_another_shape_than_wanted_is_refused(tmp_path: Path) -> None:
    tensor = Computed("F32", (2, 3), lambda: np.zeros(6, "<f4"))
    with pytest.raises(DataError, match=r"w has the shape \[2, 3\]"):
        weights.write_file(tmp_path / "m.safetensors", [Wanted("w", "F32", (3, 2))], {"w": tensor})


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0[1,2,3]]", b"\xff" * 16, b"\x02\0\0\0\0\0\0\0{]"])
def test_what_is_no_safetensors_file_is_told_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(DataError, match="not a safetensors file"):
        weights.read_header(tmp_path / "m.safetensors")


def test_a_file_that_is_shorter_than_its_header_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    weights.write_file(path, [Wanted("w", "F32", (9,))], {"w": _stored(tmp_path, "w", np.ones(9))})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="shorter than its header says"):
        weights.read_header(path)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_bf16_is_the_nearest_and_of_two_the_even_one(value: float) -> None:
    single = np.array([value], "<f4")
    found = converted(single, "F32", "BF16")
    if not finite(found, "BF16"):
        assert abs(value) > 3.38e38
        return
    here = float(converted(found, "BF16", "F32")[0])
    for step in (-1, 1):
        bits = int(found[0]) + step
        beside = float(converted(np.array([bits & 0xFFFF], "<u2"), "BF16", "F32")[0])
        if np.isfinite(beside) and np.sign(beside) == np.sign(here):
            assert abs(value - here) <= abs(value - beside)
            if abs(value - here) == abs(value - beside):
                assert int(found[0]) % 2 == 0


def test_the_same_type_is_not_copied_and_integers_stay_integers() -> None:
    numbers = np.arange(4, dtype="<i8")
    assert converted(numbers, "I64", "I64") is numbers
    with pytest.raises(DataError, match="cannot be written as F32"):
        converted(numbers, "I64", "F32")
