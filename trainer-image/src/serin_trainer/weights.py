"""Writes safetensors piece by piece: the header first, then each tensor straight from where it lies.

The format is a length, a JSON header that gives each tensor its range, and the numbers themselves
(https://github.com/huggingface/safetensors#format), so that a file can be begun before its weights are known. Each file
is hashed while it is written, and is there under its name only when it is whole.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import DataError
from .files import sync_directory
from .manifest import FileEntry
from .tensors import Array, Part, Stored, Tensor, converted, finite, itemsize, known

SHARD_BYTES = 4_000_000_000
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
MAX_HEADER = 100_000_000
WRITEBACK_BYTES = 1 << 20


@dataclass(frozen=True)
class Wanted:
    """A tensor of the output: its name, and the type and shape that it must have."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape) * itemsize(self.dtype)


def read_header(path: Path) -> dict[str, Stored]:
    """The tensors of a safetensors file, in the order of their ranges."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise _not_safetensors(path)
        try:
            header = json.loads(stream.read(length))
            found = {
                name: _described(path, entry, 8 + length) for name, entry in header.items() if name != "__metadata__"
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _not_safetensors(path) from error
    if any(part.at + part.size > size for tensor in found.values() for part in tensor.parts):
        raise DataError("ModelInvalid", f"{path.name} is shorter than its header says", "copy the file again")
    return dict(sorted(found.items(), key=lambda item: item[1].parts[0].at))


def read_folder(folder: Path) -> dict[str, Stored]:
    """All tensors of a model's folder."""
    return {name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in read_header(path).items()}


def write_model(output: Path, wanted: Iterable[Wanted], tensors: Mapping[str, Tensor]) -> list[FileEntry]:
    """Writes the tensors in files of bounded size, with an index where there are several; returns what was written."""
    files = list(_shards(sorted(wanted, key=lambda tensor: tensor.name)))
    written: list[FileEntry] = []
    index: dict[str, str] = {}
    for number, shard in enumerate(files, 1):
        name = SINGLE if len(files) == 1 else f"model-{number:05d}-of-{len(files):05d}.safetensors"
        written.append(_write(output / name, shard, tensors))
        index |= {tensor.name: name for tensor in shard}
    # The disk worked on the first file while the last one was made; only now it is waited for.
    for entry in written:
        _publish(output / entry.path)
    if len(files) > 1:
        total = sum(tensor.size for shard in files for tensor in shard)
        document = {"metadata": {"total_size": total}, "weight_map": dict(sorted(index.items()))}
        (output / INDEX).write_text(json.dumps(document, indent=1) + "\n")
    return written


def write_file(path: Path, wanted: list[Wanted], tensors: Mapping[str, Tensor]) -> FileEntry:
    entry = _write(path, wanted, tensors)
    _publish(path)
    return entry


def _write(path: Path, wanted: list[Wanted], tensors: Mapping[str, Tensor]) -> FileEntry:
    # Wide types first: each number then lies at a multiple of its own width.
    ordered = sorted(wanted, key=lambda tensor: (-itemsize(tensor.dtype), tensor.name))
    with _hidden(path).open("wb", buffering=0) as stream, _Hashed(stream) as target:
        target.write(_header(ordered))
        for tensor in ordered:
            for piece in _checked(tensor, tensors[tensor.name]):
                target.write(piece)
        return FileEntry(path.name, target.size, target.hexdigest())


def _publish(path: Path) -> None:
    """The file under its name, once it is on disk."""
    hidden = _hidden(path)
    with hidden.open("rb") as stream:
        os.fsync(stream.fileno())
    hidden.chmod(0o644)
    hidden.replace(path)
    sync_directory(path.parent)


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def _checked(wanted: Wanted, tensor: Tensor) -> Iterator[Array]:
    """The pieces of a tensor as they are written; a shape that differs or a number that is none ends it."""
    if tuple(tensor.shape) != wanted.shape:
        raise DataError(
            "CheckpointDamaged",
            f"{wanted.name} has the shape {list(tensor.shape)}, the base model's is {list(wanted.shape)}",
        )
    for piece in tensor.pieces():
        numbers = converted(piece, tensor.dtype, wanted.dtype)
        if not finite(numbers, wanted.dtype):
            where = "" if tensor.dtype == wanted.dtype else f" as {wanted.dtype}"
            raise DataError(
                "ModelNotFinite",
                f"{wanted.name} has values that are not finite{where}",
                "lower learningRate and train again",
            )
        yield numbers


class _Hashed:
    """A file whose hash is computed by a second thread while the first one writes and reads on."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._sum = hashlib.sha256()
        self._worker = ThreadPoolExecutor(1, "hash")
        self._pending: Future[None] | None = None
        self.size = 0

    def __enter__(self) -> _Hashed:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.shutdown()

    def write(self, content: Any) -> None:
        """Returns when the content is no longer needed."""
        view = memoryview(content).cast("B") if not isinstance(content, bytes) else memoryview(content)
        pending = self._worker.submit(self._sum.update, view)
        at = 0
        while at < len(view):
            at += self._stream.write(view[at:])
        if len(view) >= WRITEBACK_BYTES:
            # Of pages that are not on disk yet this asks for nothing but that they be written, without waiting.
            os.posix_fadvise(self._stream.fileno(), self.size, len(view), os.POSIX_FADV_DONTNEED)
        self.size += len(view)
        pending.result()

    def hexdigest(self) -> str:
        return self._sum.hexdigest()


def _header(tensors: list[Wanted]) -> bytes:
    document: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for tensor in tensors:
        document[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [at, at + tensor.size],
        }
        at += tensor.size
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _shards(tensors: list[Wanted]) -> Iterator[list[Wanted]]:
    shard: list[Wanted] = []
    size = 0
    for tensor in tensors:
        if shard and size + tensor.size > SHARD_BYTES:
            yield shard
            shard, size = [], 0
        shard.append(tensor)
        size += tensor.size
    if shard:
        yield shard


def _described(path: Path, entry: dict[str, Any], data: int) -> Stored:
    dtype, shape = str(entry["dtype"]), tuple(int(side) for side in entry["shape"])
    begin, end = (int(offset) for offset in entry["data_offsets"])
    if not known(dtype):
        raise DataError(
            "ModelInvalid", f"the base model holds weights of type {dtype}, which cannot be trained", "use fp32 or bf16"
        )
    if begin < 0 or end - begin != math.prod(shape) * itemsize(dtype):
        raise ValueError("a range that does not fit its shape")
    return Stored(dtype, shape, (Part(path, data + begin, end - begin),))


def _not_safetensors(path: Path) -> DataError:
    return DataError("ModelInvalid", f"{path.name} is not a safetensors file", "copy or convert the file again")
