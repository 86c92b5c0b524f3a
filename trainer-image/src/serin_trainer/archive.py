"""Reads the files that `torch.save` writes, without torch and without running anything that they name.

Such a file is a zip archive: a pickle that describes objects, and one uncompressed record for each storage. The pickle
is read by an unpickler that imports nothing: tensors become descriptions of where their bytes lie, containers become
containers, and whatever else is named becomes an inert stand-in. So a shard can be read that no trusted class wrote, and
reading one costs the memory of its description, never of its weights.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import DataError
from .tensors import Part, Stored, itemsize

# What torch calls a typed storage, and the name of its numbers as safetensors writes it.
STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
LOCAL_HEADER = struct.Struct("<4s22xHH")


@dataclass(frozen=True)
class Storage:
    """A record of the archive: numbers of one type, one after another."""

    file: Path
    dtype: str
    at: int
    length: int


class Inert:
    """Stands for an object whose class is not loaded. It remembers what it was made of, and does nothing."""

    arguments: tuple[Any, ...]

    def __new__(cls, *arguments: Any, **_: Any) -> Inert:
        made = object.__new__(cls)
        made.arguments = arguments
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass

    def add(self, value: Any) -> None:
        pass


def load(path: Path) -> Any:
    """What the file describes; its tensors are `Stored`, to be read when they are wanted."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as stream:
            root = _root(archive)
            if _byteorder(archive, root) != b"little":
                raise ValueError("its numbers are not little-endian")
            records = {
                info.filename.removeprefix(f"{root}/data/"): (_record_at(stream, info), info.file_size)
                for info in archive.infolist()
                if info.filename.startswith(f"{root}/data/")
            }
            return _Reader(io.BytesIO(archive.read(f"{root}/data.pkl")), path, records).load()
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        EOFError,
        RuntimeError,
        NotImplementedError,
        MemoryError,
        RecursionError,
        struct.error,
        zipfile.BadZipFile,
        pickle.UnpicklingError,
    ) as error:
        raise DataError(
            "CheckpointDamaged",
            f"{path.name} cannot be read ({type(error).__name__}: {str(error)[:200]})",
            "train again: retry the job",
        ) from error


class _Reader(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, path: Path, records: dict[str, tuple[int, int]]) -> None:
        super().__init__(stream, encoding="utf-8")
        self._path = path
        self._records = records
        self._stand_ins: dict[tuple[str, str], type[Inert]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        known = _KNOWN.get((module, name))
        if known is not None:
            return known
        return self._stand_ins.setdefault((module, name), type(name.rpartition(".")[2] or "Unnamed", (Inert,), {}))

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, _device, length = pid
        if kind != "storage" or not isinstance(dtype, str):
            raise ValueError(f"a storage of an unknown kind ({kind})")
        at, size = self._records[key]
        if length * itemsize(dtype) > size:
            raise ValueError(f"the storage {key} has {size} bytes and should have {length * itemsize(dtype)}")
        return Storage(self._path, dtype, at, length)


def _tensor(storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Stored:
    count = math.prod(shape)
    last = offset + sum((side - 1) * step for side, step in zip(shape, stride, strict=True)) if count else offset
    if min((offset, *shape, *stride)) < 0 or (count and last >= storage.length):
        raise ValueError(f"a tensor of the shape {tuple(shape)} reaches beyond its storage")
    width = itemsize(storage.dtype)
    if tuple(stride) == contiguous(shape) or count <= 1:
        parts = (Part(storage.file, storage.at + offset * width, count * width),)
        return Stored(storage.dtype, tuple(shape), parts)
    span = Part(storage.file, storage.at + offset * width, (last + 1 - offset) * width)
    return Stored(storage.dtype, tuple(shape), (span,), stride=tuple(stride))


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a tensor that lies in one piece."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _from_type(function: Any, _type: Any, arguments: tuple[Any, ...], _state: Any) -> Any:
    return function(*arguments)


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _from_type,
}


def _root(archive: zipfile.ZipFile) -> str:
    found = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(found) != 1:
        raise ValueError("it is not an archive of torch.save")
    return found[0].removesuffix("/data.pkl")


def _byteorder(archive: zipfile.ZipFile, root: str) -> bytes:
    name = f"{root}/byteorder"
    return archive.read(name).strip() if name in archive.namelist() else b"little"


def _record_at(stream: Any, info: zipfile.ZipInfo) -> int:
    """Where a record's bytes begin: behind its local header, whose length only the header itself tells."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} is compressed")
    stream.seek(info.header_offset)
    magic, name, extra = LOCAL_HEADER.unpack(stream.read(LOCAL_HEADER.size))
    at = info.header_offset + LOCAL_HEADER.size + name + extra
    if magic != b"PK\x03\x04" or at + info.file_size > os.fstat(stream.fileno()).st_size:
        raise ValueError(f"{info.filename} lies outside the file")
    return at
