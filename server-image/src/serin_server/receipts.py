"""Ids of answers that say by themselves which revision gave the answer, and when: what users think of it may reach any pod.

A gateway sends each request where it likes, so the pod that hears of an answer is seldom the one that gave it. All pods of a
ModelService share a key, by which each can tell an id that one of them wrote from one that somebody made up. Pure, but for
chance. Not here: what is counted (`feedback.py`).
"""

import hmac
import re
import secrets
from dataclasses import dataclass
from hashlib import sha256

_ID = re.compile(
    r"(?:chatcmpl|cmpl)-(?P<revision>[A-Za-z0-9._-]{1,253})-(?P<at>[0-9a-f]{8})(?P<nonce>[0-9a-f]{16})(?P<mac>[0-9a-f]{24})"
)
_AHEAD_SECONDS = 300
"""By so much another node's clock may be ahead of ours."""


@dataclass(frozen=True)
class Receipt:
    """What an id says: who answered, and when."""

    id: str
    revision: str
    at: int


class Receipts:
    """Writes ids and reads them back."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    @classmethod
    def of(cls, key: str | None) -> "Receipts":
        """With the service's key; without one only this process knows its own ids."""
        return cls(key or secrets.token_hex(32))

    def write(self, kind: str, revision: str, at: float) -> str:
        """A new id; `kind` is `chatcmpl` or `cmpl`."""
        said = f"{kind}-{revision}-{int(at):08x}{secrets.token_hex(8)}"
        return said + self._mac(said)

    def read(self, id_: str, now: float) -> Receipt | None:
        """What the id says; None when no pod with our key wrote it."""
        found = _ID.fullmatch(id_)
        if found is None or not hmac.compare_digest(self._mac(id_[: -len(found["mac"])]), found["mac"]):
            return None
        at = int(found["at"], 16)
        return Receipt(id_, found["revision"], at) if at <= now + _AHEAD_SECONDS else None

    def _mac(self, said: str) -> str:
        return hmac.new(self._key, said.encode(), sha256).hexdigest()[:24]
