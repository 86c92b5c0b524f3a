"""Pods that fetch their weights: which Secret they wait for, in the words of the spec that names it."""

from collections.abc import Mapping
from dataclasses import replace

from serin_operator.api.v1alpha1 import ModelService
from serin_operator.decide.missing_secrets import missing_secret
from serin_operator.decide.service.snapshot import ServingView
from serin_operator.manifests.secrets import UsedSecret, secret_for


def named_secrets(service: ModelService) -> list[tuple[str, UsedSecret]]:
    """That of the store, with where it is named."""
    weights = service.spec.runtime.weights
    if weights is None or weights.secret_ref is None:
        return []
    return [("spec.runtime.weights.secretRef", secret_for(weights.secret_ref.name, weights.uri))]


def explained(service: ModelService, views: Mapping[str, ServingView]) -> Mapping[str, ServingView]:
    """What their kubelets say, told with the field that a person can correct."""
    named = named_secrets(service)
    return {name: replace(view, trouble=_told(named, service, view.trouble)) for name, view in views.items()}


def _told(named: list[tuple[str, UsedSecret]], service: ModelService, said: str) -> str:
    missing = missing_secret(named, service.metadata.namespace, said) if said and named else None
    return missing[1] if missing is not None else said
