"""Brings the demo's namespace into its first state: volumes, data from this cluster's own API, a model to start from.

The namespace is made anew each time, so that a demo that was interrupted anywhere can simply be started again.
"""

import io
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from serin_demo import data, plan, pods
from serin_demo.client import wait_for_pod
from serin_demo.errors import DemoError
from serin_demo.kube import Kubectl, Object
from serin_demo.openapi import fields_of


def fresh_namespace(kubectl: Kubectl, name: str) -> None:
    """The namespace, empty: what an earlier run left is deleted first."""
    kubectl.delete("namespace", name, timeout=300)
    kubectl.apply([pods.namespace(name)])
    ends = time.monotonic() + 60
    while kubectl.within(name).get("serviceaccount", "default") is None:
        if time.monotonic() > ends:
            raise DemoError(f"namespace {name} has no service account after 60 s: is the controller-manager well?")
        time.sleep(0.2)


def documents(kubectl: Kubectl) -> list[Object]:
    """The OpenAPI v3 documents of every API group that the apiserver serves."""
    paths = kubectl.raw("/openapi/v3")["paths"]
    return [kubectl.raw(entry["serverRelativeURL"]) for name, entry in sorted(paths.items()) if _is_api(name)]


def _is_api(name: str) -> bool:
    return name.startswith(("api/", "apis/")) and name.count("/") in (1, 2)


def make_data(kubectl: Kubectl) -> data.DataFiles:
    """The demo's files, from this very cluster's documentation of itself."""
    made = data.make_files(fields_of(documents(kubectl)))
    if made.rows[data.QUESTIONS] < 1000:
        raise DemoError(
            f"the apiserver's OpenAPI documents gave only {made.rows[data.QUESTIONS]} questions, not 1,000."
            " See what it serves with: kubectl get --raw /openapi/v3"
        )
    return made


def load_volumes(kubectl: Kubectl, examples: Path, image: str, files: dict[str, str]) -> None:
    """Create the volumes and stream the files onto `datasets`."""
    kubectl.apply_file(examples / "00-volumes.yaml")
    with loader(kubectl, image, ("datasets", "models", "artifacts")) as on_volumes:
        on_volumes(["tar", "-xmf", "-", "-C", "/mnt/pvc/datasets"], archive(files))


@contextmanager
def loader(kubectl: Kubectl, image: str, claims: tuple[str, ...]) -> Iterator[Callable[[list[str], bytes], bytes]]:
    """A pod with the claims mounted; what it gives is a way to run commands in it."""
    kubectl.delete("pod", pods.LOADER)
    kubectl.apply([pods.loader(image, claims)])
    wait_for_pod(kubectl, pods.LOADER, {"Running"})
    yield lambda command, stdin: kubectl.execute(pods.LOADER, command, stdin)
    kubectl.delete("pod", pods.LOADER, wait=False)


def archive(files: dict[str, str]) -> bytes:
    """The files as a tar stream."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in sorted(files.items()):
            body = content.encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(body), 0o644
            tar.addfile(entry, io.BytesIO(body))
    return packed.getvalue()


def make_scratch_model(kubectl: Kubectl, image: str, arguments: list[str]) -> None:
    """A tokenizer learned from the data's words, and a small Llama that knows nothing yet."""
    kubectl.delete("job", pods.SCRATCH)
    kubectl.apply([pods.scratch(image, arguments)])
    ends = time.monotonic() + plan.POD_TIMEOUT_SECONDS
    while True:
        status = (kubectl.get("job", pods.SCRATCH) or {}).get("status", {})
        if status.get("succeeded"):
            return
        failed = any(one["type"] == "Failed" and one["status"] == "True" for one in status.get("conditions", []))
        if failed or time.monotonic() > ends:
            raise DemoError(
                f"the first model was not made within {plan.POD_TIMEOUT_SECONDS:.0f} s."
                f" Look with: kubectl -n {kubectl.namespace} logs job/{pods.SCRATCH}"
            )
        time.sleep(0.5)
