"""Whose certificates are believed: the public authorities', or for a server that names one, those of an authority of one's own.

<root>/<kind>-<name>/<key>, where the pod mounts the ConfigMap or Secret, as the contract says. The public ones are certifi's, as
in the rest of the Python here: the image has no others.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from .config import Authority
from .errors import DataError


def bundle(wish: Authority | None) -> Path:
    """A file of certificates (PEM) that exists and can be read."""
    if wish is None:
        import certifi

        return Path(certifi.where())
    path = _root() / f"{wish.kind.lower()}-{wish.name}" / wish.key
    what = f"the key {wish.key} of the {wish.kind} {wish.name!r}"
    if not path.is_file():
        raise DataError(
            "AuthorityNotFound",
            f"{what} is not there, which caRef names for the certificates of an authority",
            "create it in the job's namespace, or correct caRef; it is looked for again by itself",
        )
    try:
        ssl.create_default_context(cafile=str(path))
    except (ssl.SSLError, OSError) as error:
        raise DataError(
            "AuthorityUnreadable",
            f"{what} has no certificates in PEM",
            "write the authority's certificate there (-----BEGIN CERTIFICATE-----); it is looked for again by itself",
        ) from error
    return path


def _root() -> Path:
    return Path(os.environ.get("SERIN_AUTHORITY_ROOT", "/etc/serin-authorities"))
