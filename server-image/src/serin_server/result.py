"""What a server that does not start leaves behind: the contract's result document in the termination message.

A server that served and was stopped leaves nothing: its exit code 0 says enough.
"""

import json
import os
from pathlib import Path

from serin_server.errors import StartError

LIMIT_BYTES = 4096


def failure(key: str, error: StartError) -> bytes:
    """The document, with texts cut so that it always fits."""
    document = {
        "stage": "Serve",
        "key": key,
        "outcome": "Failed",
        "reason": error.reason,
        "message": error.message,
        "advice": error.advice,
        "output": {},
    }
    for most in (1200, 400, 100):
        encoded = json.dumps(document | {name: _cut(str(document[name]), most) for name in ("message", "advice")})
        if len(encoded) <= LIMIT_BYTES:
            break
    return encoded.encode()


def report(document: bytes) -> None:
    """Write the termination message. SERIN_RESULT_PATH stands in for /dev/termination-log outside a pod."""
    Path(os.environ.get("SERIN_RESULT_PATH", "/dev/termination-log")).write_bytes(document)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
