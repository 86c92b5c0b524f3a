"""Which Secrets a job names, and where. No Secret is ever read."""

from collections.abc import Iterable

from serin_operator.api.v1alpha1 import FineTuneJobSpec, MlflowAuthentication
from serin_operator.decide.job.demands import Asked
from serin_operator.manifests.secrets import JUDGE_KEYS, MLFLOW_KEYS, WANDB_KEYS, UsedSecret, secret_for


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


def copy_secrets(spec: FineTuneJobSpec) -> list[tuple[str, UsedSecret]]:
    """That of the bucket that the model is copied to. Only the pod that copies is given it."""
    to = spec.artifacts.copy_to
    return [("spec.artifacts.copyTo.secretRef", secret_for(to.secret_ref.name, to.uri))] if to is not None else []
