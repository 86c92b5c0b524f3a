"""What the route said at each moment: a candidate's share of the traffic over time.

Pure: versions of HTTPRoutes in, points out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from serin_demo.watching import Seen


@dataclass(frozen=True, slots=True)
class Weight:
    """From this moment on, this share went to the revision."""

    at: float
    percent: int


def backend_weights(route: dict[str, Any]) -> dict[str, int]:
    """The weight of each backend; a backend without one counts 1, as the Gateway API says."""
    found: dict[str, int] = {}
    for rule in route.get("spec", {}).get("rules", []):
        for backend in rule.get("backendRefs", []):
            found[backend["name"]] = found.get(backend["name"], 0) + backend.get("weight", 1)
    return found


def share_of(route: dict[str, Any], revision: str) -> int:
    """The percentage that goes to a revision, whose backend bears its name."""
    found = backend_weights(route)
    total = sum(found.values())
    return round(100 * found.get(revision, 0) / total) if total else 0


def weights_of(history: Iterable[Seen], route: str, revision: str) -> list[Weight]:
    """The changes of a revision's share, the first known one included."""
    points: list[Weight] = []
    for seen in history:
        if seen.object["metadata"]["name"] != route:
            continue
        percent = share_of(seen.object, revision)
        if not points or points[-1].percent != percent:
            points.append(Weight(seen.at, percent))
    return points


def backends_seen(history: Iterable[Seen]) -> set[str]:
    """Every backend that ever had a share above zero."""
    return {name for seen in history for name, weight in backend_weights(seen.object).items() if weight}
