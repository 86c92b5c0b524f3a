"""Reads TensorBoard's event files, checksums and all; written from the format's description, not from the writer."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serin_trainer.event_file import masked


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """All points of all files of a folder, by curve, in the order in which they were written."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("*tfevents*")):
        for content in _records(path.read_bytes()):
            event = dict(_fields(content))
            for number, value in _fields(event.get(5, b"")):
                assert number == 1
                one = dict(_fields(value))
                [number_read] = struct.unpack("<f", one[2])
                found.setdefault(one[1].decode(), []).append((event.get(2, 0), number_read))
    return found


def _records(content: bytes) -> Iterator[bytes]:
    while content:
        [size, sum_of_size] = struct.unpack_from("<QI", content)
        assert sum_of_size == masked(content[:8])
        record = content[12 : 12 + size]
        assert struct.unpack_from("<I", content, 12 + size)[0] == masked(record)
        yield record
        content = content[16 + size :]


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    while content:
        tag, content = _varint(content)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, content = _varint(content)
            yield number, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if size is None:
            size, content = _varint(content)
        yield number, content[:size]
        content = content[size:]


def _varint(content: bytes) -> tuple[int, bytes]:
    value = 0
    for place, byte in enumerate(content):
        value |= (byte & 0x7F) << (7 * place)
        if not byte & 0x80:
            return value, content[place + 1 :]
    raise AssertionError("a number without an end")
