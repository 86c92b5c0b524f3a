"""Tensors that lie in files: read piece by piece, turned into another type, and never held whole.

A piece is a few megabytes, which fits the processor's cache, so the memory that a model of any size takes on its way from one file to
another is that of a piece.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .errors import DataError

PIECE_BYTES = 4 << 20

# safetensors' names of types, their width, and numpy's type of the same bits; bf16 is unknown to numpy.
_TYPES: dict[str, tuple[int, str]] = {
    "F64": (8, "<f8"),
    "F32": (4, "<f4"),
    "F16": (2, "<f2"),
    "BF16": (2, "<u2"),
    "I64": (8, "<i8"),
    "I32": (4, "<i4"),
    "I16": (2, "<i2"),
    "I8": (1, "i1"),
    "U8": (1, "u1"),
    "BOOL": (1, "u1"),
}
FLOATING = ("F64", "F32", "F16", "BF16")

Array = np.ndarray[Any, np.dtype[Any]]


def itemsize(dtype: str) -> int:
    return _TYPES[dtype][0]


def numpy_type(dtype: str) -> np.dtype[Any]:
    """Numpy's type of the same bits."""
    return np.dtype(_TYPES[dtype][1])


def known(dtype: str) -> bool:
    return dtype in _TYPES


class Tensor(Protocol):
    """Anything that can be written: it tells its type and shape, and gives its numbers in pieces, in order."""

    @property
    def dtype(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    def pieces(self) -> Iterator[Array]: ...


@dataclass(frozen=True)
class Part:
    """A range of bytes of a file."""

    file: Path
    at: int
    size: int


@dataclass(frozen=True)
class Stored:
    """A tensor whose numbers lie one after another in parts of files. Without `stride` they are in order already."""

    dtype: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]
    stride: tuple[int, ...] | None = None

    def pieces(self) -> Iterator[Array]:
        """A piece is valid until the next one is asked for."""
        if self.stride is not None:
            yield self._rearranged()
            return
        buffer = bytearray(PIECE_BYTES)
        for part in self.parts:
            with part.file.open("rb", buffering=0) as stream:
                yield from _range(stream.fileno(), part, buffer, numpy_type(self.dtype))

    def span(self, start: int, count: int) -> tuple[Part, ...]:
        """Where `count` numbers lie, from the number `start` on."""
        found: list[Part] = []
        skip, left = start * itemsize(self.dtype), count * itemsize(self.dtype)
        for part in self.parts:
            taken = min(left, max(0, part.size - skip))
            if taken:
                found.append(Part(part.file, part.at + skip, taken))
            skip, left = max(0, skip - part.size), left - taken
        if left:
            raise DataError("CheckpointDamaged", f"{self.parts[-1].file.name} ends before its weights do")
        return tuple(found)

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    def _rearranged(self) -> Array:
        """A tensor that was saved as a view, such as a transposed one: the only case that is held whole."""
        (part,) = self.parts
        with part.file.open("rb") as stream:
            stream.seek(part.at)
            flat = np.frombuffer(stream.read(part.size), numpy_type(self.dtype))
        steps = [step * itemsize(self.dtype) for step in self.stride or ()]
        return np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat, self.shape, steps)).reshape(-1)


@dataclass(frozen=True)
class Computed:
    """A tensor that is made when it is written, and forgotten afterwards."""

    dtype: str
    shape: tuple[int, ...]
    make: Callable[[], Array]

    def pieces(self) -> Iterator[Array]:
        yield self.make().reshape(-1)


def join(dtype: str, shape: tuple[int, ...], parts: tuple[Part, ...]) -> Stored:
    """One tensor out of ranges of several files; their sizes must be the tensor's."""
    wanted = math.prod(shape) * itemsize(dtype)
    if sum(part.size for part in parts) != wanted:
        raise DataError("CheckpointDamaged", f"{sum(part.size for part in parts)} bytes cannot be a {shape} of {dtype}")
    return Stored(dtype, shape, parts)


def whole(tensor: Tensor) -> Array:
    """All numbers of one tensor at once, in its shape."""
    flat = np.empty(math.prod(tensor.shape), numpy_type(tensor.dtype))
    at = 0
    for piece in tensor.pieces():
        flat[at : at + len(piece)] = piece
        at += len(piece)
    return flat.reshape(tensor.shape)


def converted(numbers: Array, source: str, target: str) -> Array:
    """The same numbers in another type, rounded to the nearest as torch rounds; the very array where nothing changes."""
    if source == target:
        return numbers
    if source not in FLOATING or target not in FLOATING:
        raise DataError("ModelInvalid", f"weights of type {source} cannot be written as {target}")
    single = _to_single(numbers, source)
    if target == "BF16":
        return _to_bf16(single)
    with np.errstate(over="ignore"):
        return single.astype(numpy_type(target))


def finite(numbers: Array, dtype: str) -> bool:
    """Whether all are numbers; an exponent of ones means infinity or none."""
    if dtype == "BF16":
        return not bool(np.any((numbers & 0x7F80) == 0x7F80))
    return dtype not in FLOATING or bool(np.isfinite(numbers).all())


def _to_single(numbers: Array, source: str) -> Array:
    if source == "BF16":
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def _to_bf16(single: Array) -> Array:
    """Half of a float32's bits, rounded to nearest, ties to even (as torch and the hardware do)."""
    bits = single.view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    lost = np.isnan(single)
    if lost.any():
        rounded[lost] = 0x7FC0
    return rounded


def _range(descriptor: int, part: Part, buffer: bytearray, dtype: np.dtype[Any]) -> Iterator[Array]:
    view = memoryview(buffer)
    at, end = part.at, part.at + part.size
    while at < end:
        want = min(len(buffer), end - at)
        got = 0
        while got < want:
            read = os.preadv(descriptor, [view[got:want]], at + got)
            if not read:
                raise DataError("CheckpointDamaged", f"{part.file.name} ends at byte {at + got}, before its weights do")
            got += read
        yield np.frombuffer(view[:want], dtype)
        at += want
