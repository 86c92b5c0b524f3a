"""First step of the demo's data: an apiserver's own OpenAPI documents -> one record for each documented field.

Pure: the documents come in as parsed JSON. Not here: fetching them (`stage.py`) and making rows of them (`data.py`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]

# Every object has these, always with the same sentences: they would teach (and measure) nothing.
_BOILERPLATE = frozenset({"apiVersion", "kind", "managedFields"})
# From a kind down to the fields that people ask for (`spec.template.spec` of Deployment), not to the last leaf.
_REFERENCE_DEPTH = 6
# Deep enough for custom resources, whose nested objects are written inline, and an end for anything recursive.
_INLINE_DEPTH = 5


@dataclass(frozen=True, slots=True)
class ApiField:
    """A field of an API type, as the apiserver documents it."""

    kind: str
    path: str
    type: str
    description: str


def fields_of(documents: Iterable[dict[str, Any]]) -> list[ApiField]:
    """All described fields, each (kind, path) once, in the order of their names."""
    schemas: dict[str, Schema] = {}
    for document in documents:
        schemas.update(document.get("components", {}).get("schemas", {}))
    found: dict[tuple[str, str], ApiField] = {}
    for name in sorted(schemas):
        kind = _short(name)
        if kind.endswith("List"):
            continue
        follow = _REFERENCE_DEPTH if _is_served(schemas[name]) else 1
        for field in _walk(schemas, kind, "", schemas[name], follow):
            found.setdefault((field.kind, field.path), field)
    return [found[key] for key in sorted(found)]


def _walk(
    schemas: dict[str, Schema], kind: str, parent: str, schema: Schema, follow: int, depth: int = _INLINE_DEPTH
) -> Iterator[ApiField]:
    """The fields of a schema, and of what it refers to while `follow` lasts."""
    for name, part in schema.get("properties", {}).items():
        if not isinstance(part, dict) or name in _BOILERPLATE:
            continue
        path = f"{parent}.{name}" if parent else name
        if description := str(part.get("description", "")).strip():
            yield ApiField(kind, path, type_of(part), description)
        content = _innermost(part)
        target = _reference(content)
        if target in schemas and follow > 1 and name != "metadata":
            yield from _walk(schemas, kind, path, schemas[target], follow - 1, depth)
        elif depth > 1:
            yield from _walk(schemas, kind, path, content, follow, depth - 1)


def _short(definition: str) -> str:
    return definition.rsplit(".", 1)[-1]


def _is_served(schema: Schema) -> bool:
    """True for the kinds that have an endpoint; those that every group repeats (DeleteOptions) name many."""
    return len(schema.get("x-kubernetes-group-version-kind", [])) == 1


def _innermost(schema: Schema) -> Schema:
    """The object inside lists and maps."""
    while True:
        if isinstance(schema.get("items"), dict):
            schema = schema["items"]
        elif isinstance(schema.get("additionalProperties"), dict):
            schema = schema["additionalProperties"]
        else:
            return schema


def _reference(schema: Schema) -> str:
    """The definition that a schema points at, or nothing. With a default beside it, the reference sits in `allOf`."""
    for part in (schema, *schema.get("allOf", [])):
        if "$ref" in part:
            return str(part["$ref"]).rsplit("/", 1)[-1]
    return ""


def type_of(schema: Schema) -> str:
    """The type in words: string, integer, list of string, object."""
    if schema.get("type") == "array":
        return f"list of {type_of(schema.get('items', {}))}"
    return str(schema.get("type", "object"))
