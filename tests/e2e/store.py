"""A real S3 server in the cluster (versitygw, over TLS), with rows and a base model in its buckets.

The program that devcluster builds is streamed into a pod of the trainer's image, so that no image is made for it and nothing
listens on the machine. What the buckets hold is put there through the server.
"""

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow
from pyarrow import csv, parquet
from serin_demo import pods
from serin_demo.client import wait_for_pod
from serin_demo.kube import Kubectl
from serin_devcluster.gobuild import find_program
from serin_devcluster.paths import Paths
from serin_devcluster.pki import Authority

NAME: Final = "store"
PORT: Final = 9000
REGION: Final = "eu-central-1"  # as examples/data/bucket.yaml has it; a server refuses what is signed for another one
ACCESS: Final = {"AWS_ACCESS_KEY_ID": "support-team", "AWS_SECRET_ACCESS_KEY": "what-the-support-team-knows"}
BASE_MODEL: Final = "s3://team-models/scratch"

# The pod waits for the program, and becomes it.
_SERVE: Final = (
    "until [ -e /tmp/ready ]; do sleep 0.1; done; exec /tmp/versitygw"
    f" --access {ACCESS['AWS_ACCESS_KEY_ID']} --secret {ACCESS['AWS_SECRET_ACCESS_KEY']} --region {REGION} --port :{PORT}"
    " --cert /tmp/server.crt --key /tmp/server.key posix --sidecar /tmp/notes /tmp/buckets"
)
# Runs inside the pod, with the client that Prepare has.
_CLIENT: Final = f"""
from pyarrow.fs import S3FileSystem
store = S3FileSystem(access_key={ACCESS["AWS_ACCESS_KEY_ID"]!r}, secret_key={ACCESS["AWS_SECRET_ACCESS_KEY"]!r},
                     region={REGION!r}, endpoint_override="localhost:{PORT}", tls_ca_file_path="/tmp/ca.crt",
                     allow_bucket_creation=True)
def read(place):
    with store.open_input_stream(place, compression=None) as stream:
        return stream.read()
def write(place, content):
    with store.open_output_stream(place, compression=None) as stream:
        stream.write(content)
"""
_FILL: Final = f"""
import pathlib
from serin_trainer import scratch
{_CLIENT}
rows, model = pathlib.Path("/tmp/team-data"), pathlib.Path("/tmp/team-models/scratch")
scratch.main(["--corpus", "/tmp/words.jsonl", "--out", str(model), "--vocab-size", "400", "--hidden", "32", "--layers", "2",
              "--heads", "2", "--max-positions", "128"])
for bucket in ("team-data", "team-models"):
    store.create_dir(bucket)
    for path in pathlib.Path("/tmp", bucket).rglob("*"):
        if path.is_file():
            write(str(path.relative_to("/tmp")), path.read_bytes())
"""


COPIES: Final = "s3://team-models/bots"
_ASIDE: Final = "team-models/aside"


def rows(subject: str, count: int) -> list[dict[str, str]]:
    return [
        {"prompt": f"{subject} {number}: what is to be done?", "completion": f" Restart pod {number} and look again."}
        for number in range(count)
    ]


TICKETS, GENERAL = rows("Ticket", 90), rows("Question", 30)


def _files() -> dict[str, bytes]:
    """What lies in the bucket of data: two files of tickets with one row in both, a writer's mark, and another source."""
    lines = "".join(json.dumps(row) + "\n" for row in TICKETS[:60])
    table = io.BytesIO()
    csv.write_csv(pyarrow.Table.from_pylist([*TICKETS[60:], TICKETS[0]]), table)
    general = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(GENERAL), general)
    return {
        "tickets/2026/part-1.jsonl.gz": gzip.compress(lines.encode(), mtime=0),
        "tickets/2026/part-2.csv": table.getvalue(),
        "tickets/2026/_SUCCESS": b"",
        "general/train.parquet": general.getvalue(),
    }


@dataclass(frozen=True)
class Store:
    """Where pods find it, whose certificates it shows, and the SHA-256 of each file of rows by its address."""

    endpoint: str
    authority: str
    digests: dict[str, str]


def put_up(kubectl: Kubectl, image: str) -> Store:
    """Starts the server in the namespace and fills it."""
    pod = pods.loader(image, ())
    pod["metadata"] = {"name": NAME, "labels": {"app": NAME}}
    pod["spec"]["containers"][0]["command"] = ["sh", "-c", _SERVE]
    ports = [{"port": PORT, "targetPort": PORT}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME},
        "spec": {"selector": {"app": NAME}, "ports": ports},
    }
    kubectl.apply([pod, service])
    files, host = _files(), f"{NAME}.{kubectl.namespace}.svc"
    with tempfile.TemporaryDirectory(prefix="serin-store-") as folder:
        authority = Authority(Path(folder)).prepare()
        shown = authority.issue("server", f"/CN={host}", (f"DNS:{host}", "DNS:localhost"))
        believed = authority.ca.certificate.read_text()
        packed = _packed(
            {
                **{f"team-data/{key}": content for key, content in files.items()},
                "words.jsonl": "".join(json.dumps(row) + "\n" for row in (*TICKETS, *GENERAL)).encode(),
                "server.crt": shown.certificate.read_bytes(),
                "server.key": shown.key.read_bytes(),
                "ca.crt": believed.encode(),
                "versitygw": find_program(Paths.default(), "versitygw").read_bytes(),
            }
        )
    wait_for_pod(kubectl, NAME, {"Running"})
    unpack = "tar -xmf - -C /tmp && mkdir /tmp/buckets /tmp/notes && touch /tmp/ready"
    kubectl.execute(NAME, ["sh", "-c", unpack], packed)
    kubectl.execute(NAME, ["python", "-c", _FILL])
    digests = {f"s3://team-data/{key}": hashlib.sha256(content).hexdigest() for key, content in files.items()}
    return Store(f"https://{host}:{PORT}", believed, digests)


def _packed(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def secret(name: str, **different: str) -> dict[str, Any]:
    """The credentials as a person makes them, or with something wrong in them."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {**ACCESS, **different}}


def touch(kubectl: Kubectl, uri: str) -> None:
    """Another last byte in an object, whose content is kept aside."""
    place = uri.removeprefix("s3://")
    change = f"content = read({place!r}); write({_ASIDE!r}, content); write({place!r}, content[:-1] + bytes([content[-1] ^ 1]))"
    kubectl.execute(NAME, ["python", "-c", f"{_CLIENT}\n{change}"])


def put_back(kubectl: Kubectl, uri: str) -> None:
    kubectl.execute(NAME, ["python", "-c", f"{_CLIENT}\nwrite({uri.removeprefix('s3://')!r}, read({_ASIDE!r}))"])
