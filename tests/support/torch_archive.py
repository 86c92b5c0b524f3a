"""Files as `torch.save` writes them, made without torch: a pickle spelled out by hand, and records of zeros and ones."""

from __future__ import annotations

import zipfile
from pathlib import Path


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def number(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little", signed=True)


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(
    key: str,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    offset: int = 0,
    length: int = 0,
    kind: str = "FloatStorage",
) -> bytes:
    """The opcodes of a tensor whose numbers lie in the record of that key."""
    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(length) + b"tQ"
    arguments = storage + number(offset) + numbers(shape) + numbers(stride) + b"\x89N"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def mapping(**values: bytes) -> bytes:
    return b"}(" + b"".join(text(name) + value for name, value in values.items()) + b"u"


def call(module: str, name: str, *arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n(".encode() + b"".join(arguments) + b"tR"


def write(path: Path, document: bytes, **records: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{path.stem}/data.pkl", b"\x80\x02" + document + b".")
        archive.writestr(f"{path.stem}/byteorder", b"little")
        for key, content in records.items():
            archive.writestr(f"{path.stem}/data/{key.removeprefix('r')}", content)
    return path
