"""What can go wrong, told by whose turn it is next.

Each error carries what the operator and a person need: a reason (one CamelCase word), a sentence with the numbers,
and what to do. Turning an error into an exit code and a document is `result.py`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

EXIT_DONE = 0
EXIT_UNKNOWN = 1
EXIT_CONFIG = 64
EXIT_DATA = 65
EXIT_TRY_AGAIN = 75


class StageError(Exception):
    """A stage ends here; its subclass says whose turn it is."""

    exit_code = EXIT_UNKNOWN

    def __init__(self, reason: str, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.advice = advice


class PeerLostError(StageError):
    """Another process of the run went away. Why, only that one can say: to this one it is unknown."""


# How gloo, NCCL and the store behind them say that a peer is gone.
_SIGNS = (
    "closed by peer",
    "reset by peer",
    "Broken pipe",
    "NCCL",
    "Connection was likely closed",
    "failed to recv, got 0 bytes",
)


def lost_peer(error: BaseException) -> PeerLostError | None:
    """The communication library's words for a lost peer, in ours; None for any other error."""
    if not isinstance(error, RuntimeError) or not any(sign in str(error) for sign in _SIGNS):
        return None
    return PeerLostError(
        "PeerLost",
        f"another training process went away ({str(error).splitlines()[0][:200]})",
        "look at the other pods of this attempt; the next one resumes from the newest checkpoint",
    )


@contextmanager
def naming_lost_peers() -> Iterator[None]:
    """Turns an error that only says that a peer is gone into ours."""
    try:
        yield
    except RuntimeError as error:
        lost = lost_peer(error)
        if lost is None:
            raise
        raise lost from error


class ConfigError(StageError):
    """The wish itself is wrong; only another spec helps."""

    exit_code = EXIT_CONFIG


class DataError(StageError):
    """The data or the model is wrong or missing."""

    exit_code = EXIT_DATA


class TryAgainError(StageError):
    """Nobody did wrong; the same attempt can simply be made again."""

    exit_code = EXIT_TRY_AGAIN
