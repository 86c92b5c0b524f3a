"""The metadata of what a ModelService has one of: a route, or the Service that clients use. It bears the ModelService's name."""

from typing import Any

from serin_operator.api.v1alpha1 import API_VERSION, ModelService
from serin_operator.manifests import names, pods


def metadata_of(service: ModelService) -> dict[str, Any]:
    """It goes with the ModelService."""
    meta = service.metadata
    return {
        "name": meta.name,
        "namespace": meta.namespace,
        "labels": {names.MANAGED_BY: names.MANAGER, names.SERVICE: meta.name},
        "ownerReferences": [pods.owner_reference(API_VERSION, "ModelService", meta.name, meta.uid)],
    }
