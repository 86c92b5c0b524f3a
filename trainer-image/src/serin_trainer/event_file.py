"""TensorBoard's event files, as far as curves need them: one record a point, framed and checksummed.

A record is its length, the length's checksum, a protobuf `Event` and its checksum. The five fields that are written here
are fewer bytes than the packages that write them (tensorboard 6 MB, tensorboardX and protobuf 3 MB), and theirs go through
a queue that a full disk would block for ever.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from pathlib import Path

_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), reflected
_SESSION_STARTS = 1


class EventFile:
    """One file, to which `flush` appends what came since; between the calls it is not open."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        self._path = path
        self._waiting: list[bytes] = []
        self._write(_text(3, "brain.Event:2"), time.time())

    def forget(self, step: int) -> None:
        """Tells a TensorBoard that is watching to forget its points from this step on."""
        session = _bytes(7, _number(1, _SESSION_STARTS))
        self._write(_number(2, step) + session, time.time())

    def scalars(self, step: int, values: Mapping[str, float], at: float) -> None:
        """Adds a point to each of the named curves."""
        parts = (_bytes(1, _text(1, name) + _float(2, value)) for name, value in values.items())
        self._write(_number(2, step) + _bytes(5, b"".join(parts)), at)

    def flush(self) -> None:
        with self._path.open("ab") as stream:
            stream.write(b"".join(self._waiting))
        self._waiting.clear()

    def _write(self, fields: bytes, at: float) -> None:
        self._waiting.append(framed(_double(1, at) + fields))


def framed(content: bytes) -> bytes:
    """A record as the file holds it."""
    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", masked(length)) + content + struct.pack("<I", masked(content))


def masked(content: bytes) -> int:
    """The checksum of a record: CRC-32C, turned, so that a checksum of a checksum is not special."""
    crc = crc32c(content)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(content: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in content:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = tuple(_entry(byte) for byte in range(256))


# Protobuf: a field is its number and wire type in one number, and then the value.


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)
