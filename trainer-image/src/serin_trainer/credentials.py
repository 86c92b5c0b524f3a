"""What the pod was given to fetch with: environment variables that the kubelet filled from Secrets.

SERIN_SECRET_<NAME>__<KEY>, as the contract says. Nothing here is ever printed, and nothing of it is written anywhere.
"""

from __future__ import annotations

import os

from .errors import ConfigError


def credential(secret: str, key: str) -> str:
    """The value of a key that must be there, without the line end that `echo` leaves behind."""
    value = optional_credential(secret, key)
    if not value:
        raise ConfigError(
            "InvalidConfig",
            f"the key {key} of the Secret {secret!r} is empty",
            "write its value into the Secret; annotate the job with serin.dev/retry=<any new word> when it is there",
        )
    return value


def optional_credential(secret: str, key: str) -> str | None:
    """The value of a key that need not be there."""
    value = os.environ.get(f"SERIN_SECRET_{secret.upper().replace('-', '_')}__{key}", "").strip()
    return value or None
