"""When did Prometheus first have a value that broke an SLO, and how long until the candidate had no traffic?

Found afterwards from Prometheus' own memory, so the measurement does not depend on the operator's word for it.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from serin_demo import plan
from serin_demo.kube import Kubectl
from serin_demo.weights import Weight


@dataclass(frozen=True, slots=True)
class Breach:
    """The first value out of bounds."""

    slo: str
    at: float
    value: float


def filled(query: str, words: dict[str, str]) -> str:
    """A query with {{namespace}}, {{service}}, {{revision}} and {{stable}} filled in."""
    for name, value in words.items():
        query = query.replace("{{" + name + "}}", value)
    return query


def first_out_of_bounds(slo: dict[str, Any], points: Iterable[Sequence[Any]]) -> Breach | None:
    """The first point of a series above `max` or below `min`. NaN is no value."""
    high, low = float(slo.get("max", "inf")), float(slo.get("min", "-inf"))
    for at, text in points:
        value = float(text)
        if not math.isnan(value) and not low <= value <= high:
            return Breach(slo["name"], float(at), value)
    return None


def first_breach(service: dict[str, Any], words: dict[str, str], ask: Callable[[str], list[Any]]) -> Breach | None:
    """The earliest breach of any SLO of a ModelService; `ask` gives the series of a query."""
    found = [
        first_out_of_bounds(slo, series["values"])
        for slo in service["spec"]["slos"]
        for series in ask(filled(slo["query"], words))
    ]
    return min((breach for breach in found if breach), key=lambda breach: breach.at, default=None)


def weight_zero_after(weights: Sequence[Weight], moment: float) -> float | None:
    """When the share fell back to nothing."""
    return next((weight.at for weight in weights if weight.percent == 0 and weight.at >= moment), None)


def range_query(kubectl: Kubectl, start: float, end: float) -> Callable[[str], list[Any]]:
    """Asks Prometheus, through the apiserver's proxy, for a query's value at each second of a span."""
    namespace, service, port = plan.PROMETHEUS
    root = f"/api/v1/namespaces/{namespace}/services/{service}:{port}/proxy/api/v1/query_range"

    def ask(query: str) -> list[Any]:
        wish = urlencode({"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": "1"})
        return kubectl.raw(f"{root}?{wish}")["data"]["result"]

    return ask
