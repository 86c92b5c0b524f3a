"""The Service that clients use where there is no gateway: it has the ModelService's name, and selects pods of its revisions.

Whom it selects is one label more or less: with `serin.dev/revision` the pods of one revision, without it those of all that
this service runs. So one write moves the traffic, and no pod is changed for it. Pure; who gets what is decided elsewhere.
"""

from collections.abc import Mapping
from typing import Any, Final

from serin_operator.api.v1alpha1 import ModelService
from serin_operator.manifests import names
from serin_operator.manifests.engines import PORT
from serin_operator.manifests.owned import metadata_of

EVERYBODY: Final = "*"
"""In place of a revision's name: the pods of all revisions."""


def front_service(service: ModelService, selects: str) -> dict[str, Any]:
    """`selects` is a revision's name, or EVERYBODY. What would send requests past the ratio of ready pods is written out;
    what is not named (a type, say) is left as it is."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata_of(service),
        "spec": {
            "selector": selector(service.metadata.name, selects),
            "ports": [{"name": "http", "port": PORT, "targetPort": PORT, "protocol": "TCP", "appProtocol": "http"}],
            "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
            "publishNotReadyAddresses": False,
        },
    }


def selector(service: str, selects: str) -> dict[str, str]:
    everybody = {names.SERVICE: service, names.STAGE: "serve"}
    return everybody if selects == EVERYBODY else {**everybody, names.REVISION: selects}


def selected(service: str, labels: Mapping[str, str]) -> str:
    """Whom a selector of such a Service selects; empty when Serin did not write it so."""
    found = str(labels.get(names.REVISION, EVERYBODY))
    return found if labels == selector(service, found) else ""
