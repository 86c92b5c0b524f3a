"""Which Secrets a job names, where, and what it means when a pod waits for one. No Secret is ever read.

That one is missing is known from its kubelet, which does not start the container and says why.
"""

import re
from collections.abc import Iterable
from typing import Final

from serin_operator.api.v1alpha1 import FineTuneJobSpec, MlflowAuthentication
from serin_operator.decide.job.demands import Asked
from serin_operator.manifests.secrets import JUDGE_KEYS, MLFLOW_KEYS, WANDB_KEYS, UsedSecret, secret_for

# The kubelet's words (pkg/kubelet/kubelet_pods.go).
_NO_SECRET: Final = re.compile(r'secrets? "(?P<secret>[^"]+)" not found')
_NO_KEY: Final = re.compile(r"couldn't find key (?P<key>\S+) in Secret [^/\s]+/(?P<secret>[a-z0-9.-]+)")


def named_secrets(spec: FineTuneJobSpec) -> list[tuple[str, UsedSecret]]:
    """Each field of the spec that names a Secret to fetch with, and what is used of it."""
    data = spec.data
    places = [("spec.baseModel", spec.base_model)]
    for part, files in (("train", data.train), ("validation", data.validation), ("test", data.test)):
        places += [(f"spec.data.{part}[{source.name}]", source) for source in files]
    return [
        (f"{place}.secretRef", secret_for(one.secret_ref.name, one.uri))
        for place, one in places
        if one.secret_ref is not None
    ]


def used_secrets(spec: FineTuneJobSpec) -> tuple[UsedSecret, ...]:
    """Each once."""
    return tuple(sorted({secret for _field, secret in named_secrets(spec)}))


def judges_secrets(asked: Iterable[Asked]) -> list[tuple[str, UsedSecret]]:
    """Those that the suites' judges are asked with, each with where it is named."""
    return [
        (f"suite {one.name} of {one.source}", UsedSecret(one.suite.judge.secret_ref.name, JUDGE_KEYS))
        for one in asked
        if one.suite.judge is not None and one.suite.judge.secret_ref is not None
    ]


def trackers_secrets(spec: FineTuneJobSpec) -> list[tuple[str, UsedSecret]]:
    """Those that tracking servers are told with, each with where it is named. Only training pods are given them."""
    if spec.tracking is None:
        return []
    found: list[tuple[str, UsedSecret]] = []
    mlflow, wandb = spec.tracking.mlflow, spec.tracking.wandb
    if mlflow is not None and mlflow.secret_ref is not None:
        keys = MLFLOW_KEYS[mlflow.authentication or MlflowAuthentication.TOKEN]
        found.append(("spec.tracking.mlflow.secretRef", UsedSecret(mlflow.secret_ref.name, keys)))
    if wandb is not None and wandb.secret_ref is not None:
        found.append(("spec.tracking.wandb.secretRef", UsedSecret(wandb.secret_ref.name, WANDB_KEYS)))
    return found


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
