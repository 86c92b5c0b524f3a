"""A private certificate authority for one cluster, made with openssl. Keys are P-256: quick to make, small on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from serin_devcluster.shell import run

DAYS = "3650"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path

    @property
    def exists(self) -> bool:
        return self.certificate.exists() and self.key.exists()


class Authority:
    """Issues the certificates below one folder. What is there already is kept, so a restart changes nobody's identity."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = Pair(folder / "ca.crt", folder / "ca.key")
        self.service_account_key = folder / "service-accounts.key"
        self.service_account_public = folder / "service-accounts.pub"

    def prepare(self) -> Authority:
        """The authority's own certificate and the key pair that signs service-account tokens."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.ca.exists:
            subject = ("-subj", "/CN=serin-devcluster", "-days", DAYS)
            run(["openssl", "req", "-x509", *NEW_KEY, *subject, "-keyout", self.ca.key, "-out", self.ca.certificate])
        if not self.service_account_public.exists():
            run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.service_account_key])
            run(["openssl", "ec", "-in", self.service_account_key, "-pubout", "-out", self.service_account_public])
        return self

    def issue(self, name: str, subject: str, names: tuple[str, ...] = ()) -> Pair:
        """A certificate for servers and clients. `names` are openssl's alternative names, such as IP:127.0.0.1."""
        pair = Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        if pair.exists:
            return pair
        request = self.folder / f"{name}.csr"
        extensions = self.folder / f"{name}.ext"
        alternative = ",".join(names or (f"DNS:{name}",))
        extensions.write_text(f"subjectAltName={alternative}\nextendedKeyUsage=serverAuth,clientAuth\n")
        run(["openssl", "req", *NEW_KEY, "-subj", subject, "-keyout", pair.key, "-out", request])
        signer = ("-CA", self.ca.certificate, "-CAkey", self.ca.key, "-CAcreateserial", "-days", DAYS)
        run(["openssl", "x509", "-req", "-in", request, *signer, "-extfile", extensions, "-out", pair.certificate])
        request.unlink()
        extensions.unlink()
        return pair


def kubeconfig(server: str, ca: Path, user: Pair) -> str:
    """A kubeconfig that points at the files. JSON is YAML, and needs no library."""
    import json

    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "serin", "cluster": {"server": server, "certificate-authority": str(ca)}}],
        "users": [
            {"name": "serin", "user": {"client-certificate": str(user.certificate), "client-key": str(user.key)}}
        ],
        "contexts": [{"name": "serin", "context": {"cluster": "serin", "user": "serin"}}],
        "current-context": "serin",
    }
    return json.dumps(document, indent=2) + "\n"


def embedded_kubeconfig(server: str, ca: Path, user: Pair) -> str:
    """A kubeconfig that holds the certificates itself, so it can be copied elsewhere."""
    import base64
    import json

    def data(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    document = json.loads(kubeconfig(server, ca, user))
    document["clusters"][0]["cluster"] = {"server": server, "certificate-authority-data": data(ca)}
    document["users"][0]["user"] = {
        "client-certificate-data": data(user.certificate),
        "client-key-data": data(user.key),
    }
    return json.dumps(document, indent=2) + "\n"
