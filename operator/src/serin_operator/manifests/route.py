"""The HTTPRoute of a ModelService: one rule, one weighted backend for each revision
(https://gateway-api.sigs.k8s.io/guides/traffic-splitting/). Pure; who gets what is decided elsewhere."""

from collections.abc import Sequence
from typing import Any

from serin_operator.api.v1alpha1 import API_VERSION, ModelService
from serin_operator.manifests import names, pods
from serin_operator.manifests.serving import PORT

GATEWAY_GROUP = "gateway.networking.k8s.io"
REQUEST_TIMEOUT = "10m"  # long answers are streamed; proxies' own defaults cut them off after seconds


def http_route(service: ModelService, backends: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """`backends` are (Service, weight). Defaults are written out: what is not named is not ours under apply."""
    meta, traffic = service.metadata, service.spec.traffic
    return {
        "apiVersion": f"{GATEWAY_GROUP}/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": meta.name,
            "namespace": meta.namespace,
            "labels": {names.MANAGED_BY: names.MANAGER, names.SERVICE: meta.name},
            "ownerReferences": [pods.owner_reference(API_VERSION, "ModelService", meta.name, meta.uid)],
        },
        "spec": {
            "parentRefs": [
                {
                    "group": GATEWAY_GROUP,
                    "kind": "Gateway",
                    "namespace": traffic.gateway_ref.namespace,
                    "name": traffic.gateway_ref.name,
                }
            ],
            "hostnames": list(traffic.hostnames),
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                    "backendRefs": [_backend(name, weight) for name, weight in backends],
                    "timeouts": {"request": REQUEST_TIMEOUT},
                }
            ],
        },
    }


def _backend(name: str, weight: int) -> dict[str, Any]:
    return {"group": "", "kind": "Service", "name": name, "port": PORT, "weight": weight}
