"""A server certificate for 127.0.0.1 and the authority that signed it, made up for tests; and an authority that signed nothing.

They lie here because the images in which tests run have no openssl. The authority's key was thrown away.
"""

import ssl
from pathlib import Path

_HERE = Path(__file__).parent
AUTHORITY, STRANGER = _HERE / "ca.crt", _HERE / "stranger.crt"
CERTIFICATE, KEY = _HERE / "server.crt", _HERE / "server.key"


def server_context() -> ssl.SSLContext:
    """Of a server that shows the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    return context


def mount(root: Path, kind: str, name: str, content: bytes, key: str = "ca.crt") -> None:
    """As the kubelet mounts a ConfigMap or Secret with an authority's certificates."""
    path = root / f"{kind.lower()}-{name}" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
