"""Is an object still as it was wished? People and other controllers edit children; what Serin names is Serin's.

Only what the wish names is looked at: defaults of the apiserver, fields and named list items of others stay theirs.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from serin_operator.manifests.quantities import same_quantity

_Object = Mapping[str, Any]


def covers(live: Any, wish: Any) -> bool:
    """Everything that `wish` names is so in `live`."""
    if live == wish:  # most parts, most of the time, and compared in C
        return True
    if isinstance(wish, Mapping):
        return isinstance(live, Mapping) and _covers_object(cast("_Object", live), cast("_Object", wish))
    if isinstance(wish, list | tuple):
        return isinstance(live, list) and _covers_list(cast("list[Any]", live), cast("Sequence[Any]", wish))
    return same_quantity(live, wish)


def _covers_object(live: _Object, wish: _Object) -> bool:
    """An empty object that the apiserver left out is there."""
    return all(covers(live.get(name, {} if value == {} else None), value) for name, value in wish.items())


def _covers_list(live: list[Any], wish: Sequence[Any]) -> bool:
    """Items with names are found by name, and there may be others; any other list is compared as a whole."""
    if wish and all(isinstance(item, Mapping) and "name" in item for item in wish):
        named = {item.get("name"): item for item in cast("list[_Object]", live)}
        return all(covers(named.get(item["name"]), item) for item in cast("Sequence[_Object]", wish))
    return len(live) == len(wish) and all(covers(*pair) for pair in zip(live, wish, strict=True))
