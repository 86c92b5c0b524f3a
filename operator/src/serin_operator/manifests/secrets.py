"""Credentials in pods: environment variables that the kubelet fills from Secrets. The operator names them and reads none.

A variable is SERIN_SECRET_<NAME>__<KEY>, so that several Secrets with the same keys fit into one pod
(`serin_trainer/credentials.py` reads them).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from serin_operator.api.v1alpha1 import MlflowAuthentication

S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
S3_OPTIONAL = ("AWS_SESSION_TOKEN",)
HUB_KEYS = ("HF_TOKEN",)
JUDGE_KEYS = ("OPENAI_API_KEY",)
WANDB_KEYS = ("WANDB_API_KEY",)
MLFLOW_KEYS = {
    MlflowAuthentication.TOKEN: ("MLFLOW_TRACKING_TOKEN",),
    MlflowAuthentication.PASSWORD: ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
}


@dataclass(frozen=True, slots=True, order=True)
class UsedSecret:
    """A Secret of the job's namespace, and what of it the pod is given."""

    name: str
    keys: tuple[str, ...]
    optional: tuple[str, ...] = ()


def secret_for(name: str, uri: str) -> UsedSecret:
    """What an address of this kind is fetched with."""
    return UsedSecret(name, S3_KEYS, S3_OPTIONAL) if uri.startswith("s3://") else UsedSecret(name, HUB_KEYS)


def secret_env(secrets: Iterable[UsedSecret]) -> list[dict[str, Any]]:
    """One variable for each key. The pod does not start while a Secret or a key that it needs is missing: its kubelet
    says which (CreateContainerConfigError), and tries again by itself."""
    found: dict[str, dict[str, Any]] = {}
    for one in sorted(secrets):
        for key in one.keys:
            found[variable(one.name, key)] = {"name": one.name, "key": key}
        for key in one.optional:
            found[variable(one.name, key)] = {"name": one.name, "key": key, "optional": True}
    return [{"name": name, "valueFrom": {"secretKeyRef": ref}} for name, ref in found.items()]


def variable(secret: str, key: str) -> str:
    """Names of Secrets that a job may give have lower-case letters, digits and dashes: no two share a variable."""
    return f"SERIN_SECRET_{secret.upper().replace('-', '_')}__{key}"


def secrets_word(secrets: Iterable[UsedSecret]) -> str:
    """A word for these Secrets, so that a pod that waits for a wrong one is not waited for; "" for none."""
    names = sorted({one.name for one in secrets})
    return sha256(" ".join(names).encode()).hexdigest() if names else ""
