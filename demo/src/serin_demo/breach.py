"""When was the first scrape that broke an SLO, and how long until the candidate had no traffic?

Found afterwards from Prometheus' own memory, so the measurement does not depend on the operator's word for it. The SLOs
are evaluated at the very moments of the scrapes: values can only change there, and steps of whole seconds would be
coarser than what is measured.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from serin_demo import plan
from serin_demo.kube import Kubectl
from serin_demo.weights import Weight

# A query at a moment -> the series that Prometheus found.
Ask = Callable[[str, float], list[dict[str, Any]]]


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


def out_of_bounds(slo: dict[str, Any], value: float) -> bool:
    """Above `max` or below `min`. NaN is no value."""
    high, low = float(slo.get("max", "inf")), float(slo.get("min", "-inf"))
    return not math.isnan(value) and not low <= value <= high


def first_breach(service: dict[str, Any], words: dict[str, str], scrapes: Iterable[float], ask: Ask) -> Breach | None:
    """The earliest breach of any SLO of a ModelService."""
    for moment in sorted(scrapes):
        for slo in service["spec"]["slos"]:
            for series in ask(filled(slo["query"], words), moment):
                value = float(series["value"][1])
                if out_of_bounds(slo, value):
                    return Breach(slo["name"], moment, value)
    return None


def scrapes_of(words: dict[str, str], start: float, end: float, ask: Ask) -> list[float]:
    """When the revision's pods were scraped: the moments of the samples of `up`."""
    labels = ",".join(f'{name}="{words[name]}"' for name in ("namespace", "service", "revision"))
    seconds = math.ceil(end - start) + 1
    found = ask(f"up{{{labels}}}[{seconds}s]", end)
    return sorted({float(at) for series in found for at, _ in series["values"] if start <= float(at) <= end})


def weight_zero_after(weights: Sequence[Weight], moment: float) -> float | None:
    """When the share fell back to nothing."""
    return next((weight.at for weight in weights if weight.percent == 0 and weight.at >= moment), None)


def prometheus(kubectl: Kubectl) -> Ask:
    """Asks Prometheus, through the apiserver's proxy."""
    namespace, service, port = plan.PROMETHEUS
    root = f"/api/v1/namespaces/{namespace}/services/{service}:{port}/proxy/api/v1/query"

    def ask(query: str, at: float) -> list[dict[str, Any]]:
        return kubectl.raw(f"{root}?{urlencode({'query': query, 'time': f'{at:.3f}'})}")["data"]["result"]

    return ask
