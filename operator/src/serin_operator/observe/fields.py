"""Steps into manifests whose parts may be missing: an absent object is empty, an absent list is empty."""

from typing import Any, cast

Json = dict[str, Any]


def part(item: Any, *path: str) -> Json:
    """The object at `path`, or {}."""
    found = _at(item, path)
    return cast("Json", found) if isinstance(found, dict) else {}


def parts(item: Any, *path: str) -> list[Json]:
    """The list of objects at `path`, or []."""
    found = _at(item, path)
    return cast("list[Json]", found) if isinstance(found, list) else []


def owned_by(item: Json, uid: str) -> bool:
    """A label can be written by anybody; what is ours carries the owner's uid."""
    return any(owner.get("uid") == uid for owner in parts(item, "metadata", "ownerReferences"))


def by_type(conditions: list[Json]) -> dict[str, Json]:
    """Conditions by their type."""
    return {condition["type"]: condition for condition in conditions}


def _at(item: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        item = cast("Json", item).get(name) if isinstance(item, dict) else None
    return item
