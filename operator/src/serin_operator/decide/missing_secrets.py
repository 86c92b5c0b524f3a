"""What it means when a pod waits for a Secret. None is ever read: that one is missing is known from its kubelet, which does not
start the container and says why."""

import re
from typing import Final

from serin_operator.manifests.secrets import UsedSecret

# The kubelet's words (pkg/kubelet/kubelet_pods.go).
_NO_SECRET: Final = re.compile(r'secrets? "(?P<secret>[^"]+)" not found')
_NO_KEY: Final = re.compile(r"couldn't find key (?P<key>\S+) in Secret [^/\s]+/(?P<secret>[a-z0-9.-]+)")


def missing_secret(named: list[tuple[str, UsedSecret]], namespace: str, said: str) -> tuple[str, str] | None:
    """A reason and a sentence when what the kubelet says is that one of these Secrets, or a key of it, is missing."""
    no_key, no_secret = _NO_KEY.search(said), _NO_SECRET.search(said)
    found = no_key or no_secret
    if found is None:
        return None
    name = found["secret"]
    fields = [(field, secret) for field, secret in named if secret.name == name]
    if not fields:
        return None
    keys = sorted({key for _field, secret in fields for key in secret.keys})
    more = f" (and {len(fields) - 1} more)" if len(fields) > 1 else ""
    where = f"{fields[0][0]}{more} names the Secret {name!r} of namespace {namespace!r}"
    if no_key is not None:
        return "SecretKeyMissing", f"{where}, which has no key {no_key['key']}; add it, and the pod starts by itself"
    return (
        "SecretNotFound",
        f"{where}, which does not exist; create it with {' and '.join(keys)}, and the pod starts by itself",
    )
