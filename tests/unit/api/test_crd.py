"""The translation of models into CRDs, and that the committed CRDs are the models' translation."""

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import Field
from serin_operator.api import crd, v1alpha1
from serin_operator.api.base import VALIDATIONS, ApiModel, list_map, rule, rules
from support.objects import FULL, MINIMAL, OTHERWISE

COMMITTED = Path(__file__).parents[3] / "crds"


class Colour(StrEnum):
    RED = "Red"
    BLUE = "Blue"


class Leaf(ApiModel):
    """A leaf of the tree.

    Details that only developers want.
    """

    name: str
    title: str | None = None


class Tree(ApiModel):
    """A tree."""

    model_config = rules(rule("self.size > 0", "size must be above 0"))

    first_leaf: Leaf = Leaf(name="a")
    leaves: Annotated[list[Leaf], list_map("name", 3)] = []
    colour: Colour = Colour.RED
    answer: Literal["Yes"] | None = None
    size: Annotated[int, Field(gt=0)] | None = None
    share: int | str | None = None
    at: datetime | None = None
    anything: Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})] = {}


def schema_of(model: type[ApiModel], **options: bool) -> dict[str, Any]:
    source = model.model_json_schema(by_alias=True)
    return crd.structural(source, source.get("$defs", {}), **options)


def test_a_model_becomes_a_structural_schema() -> None:
    leaf = {
        "description": "A leaf of the tree.",
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "title": {"type": "string"}},
    }
    assert schema_of(Tree) == {
        "description": "A tree.",
        "type": "object",
        VALIDATIONS: [{"rule": "self.size > 0", "message": "size must be above 0"}],
        "properties": {
            "firstLeaf": {**leaf, "default": {"name": "a"}},
            "leaves": {
                "type": "array",
                "default": [],
                "maxItems": 3,
                "items": leaf,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
            "colour": {"type": "string", "enum": ["Red", "Blue"], "default": "Red"},
            "answer": {"type": "string", "enum": ["Yes"]},
            "size": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
            "at": {"type": "string", "format": "date-time"},
            "share": {"x-kubernetes-int-or-string": True},
            "anything": {"type": "object", "default": {}, "x-kubernetes-preserve-unknown-fields": True},
        },
    }


def test_status_fields_have_no_defaults_of_their_own() -> None:
    assert not [
        path for path, key in _walk(schema_of(v1alpha1.FineTuneJobStatus, keep_defaults=False)) if key == "default"
    ]


def test_no_default_names_what_is_absent() -> None:
    """The apiserver refuses a schema whose default has a null in it."""

    class Grove(ApiModel):
        leaves: list[Leaf] = [Leaf(name="a"), Leaf(name="b", title="B")]

    assert schema_of(Grove)["properties"]["leaves"]["default"] == [{"name": "a"}, {"name": "b", "title": "B"}]


def test_a_union_of_other_types_is_refused_with_its_name() -> None:
    class Odd(ApiModel):
        either: int | bool

    with pytest.raises(crd.NotStructural, match="union of 2 types"):
        schema_of(Odd)


def test_a_word_that_crds_do_not_know_is_refused() -> None:
    class Odd(ApiModel):
        pair: tuple[int, str]

    with pytest.raises(crd.NotStructural, match="prefixItems"):
        schema_of(Odd)


def test_strings_that_look_like_numbers_are_quoted_for_every_yaml_reader() -> None:
    text = crd.render(crd.CRDS[0])
    assert 'default: "1.0"' in text


@pytest.mark.parametrize("one", crd.CRDS, ids=lambda one: one.kind.kind)
def test_the_committed_crd_is_generated_from_the_models(one: crd.Crd) -> None:
    assert (COMMITTED / crd.file_name(one)).read_text() == crd.render(one), "run `make generate`"


def test_nothing_else_lies_among_the_crds(tmp_path: Path) -> None:
    assert {path.name for path in crd.write(tmp_path)} == {path.name for path in COMMITTED.iterdir()}


def test_a_crd_that_no_object_stands_behind_is_removed(tmp_path: Path) -> None:
    stale = tmp_path / "serin.dev_ghosts.yaml"
    stale.touch()
    crd.write(tmp_path)
    assert not stale.exists()


@pytest.mark.parametrize("one", crd.CRDS, ids=lambda one: one.kind.kind)
def test_every_list_says_how_server_side_apply_merges_it_and_how_long_it_may_get(one: crd.Crd) -> None:
    spec = _root(one)["properties"]["spec"]
    lists = [schema for schema in _schemas(spec) if schema.get("type") == "array"]
    assert all("maxItems" in schema for schema in lists)
    named = [schema for schema in lists if "name" in schema["items"].get("required", ())]
    assert all(schema["x-kubernetes-list-type"] == "map" for schema in named)


@pytest.mark.parametrize("one", crd.CRDS, ids=lambda one: one.kind.kind)
def test_no_number_of_a_spec_is_a_float(one: crd.Crd) -> None:
    assert not [schema for schema in _schemas(_root(one)) if schema.get("type") == "number"]


@pytest.mark.parametrize("kind", [one.kind.kind for one in crd.CRDS])
def test_the_longest_examples_name_every_field_of_the_spec(kind: str) -> None:
    one = next(one for one in crd.CRDS if one.kind.kind == kind)
    forms = [FULL[kind], *OTHERWISE.get(kind, ())]
    assert _fields_of(_root(one)["properties"]["spec"]) == set().union(*(_fields_in(form["spec"]) for form in forms))


@pytest.mark.parametrize("manifests", [MINIMAL, FULL], ids=["shortest", "longest"])
@pytest.mark.parametrize("one", crd.CRDS, ids=lambda one: one.kind.kind)
def test_the_operator_reads_what_the_schema_takes(one: crd.Crd, manifests: dict[str, dict[str, Any]]) -> None:
    read = one.model.model_validate(manifests[one.kind.kind]).manifest()
    assert _covers(read["spec"], manifests[one.kind.kind]["spec"])


def _root(one: crd.Crd) -> dict[str, Any]:
    found = yaml.safe_load(crd.render(one))
    return found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def _schemas(schema: dict[str, Any]) -> list[dict[str, Any]]:
    below = [*schema.get("properties", {}).values()]
    below += [schema[word] for word in ("items", "additionalProperties") if word in schema]
    return [schema, *(found for inner in below for found in _schemas(inner))]


def _walk(value: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(value, list):
        return [found for inner in value for found in _walk(inner, path)]
    if not isinstance(value, dict):
        return []
    return [(path, key) for key in value] + [found for key in value for found in _walk(value[key], f"{path}.{key}")]


def _fields_of(schema: dict[str, Any], path: str = "") -> set[str]:
    if "items" in schema:
        return _fields_of(schema["items"], path)
    found = {f"{path}.{name}" for name in schema.get("properties", {})}
    return found.union(*(_fields_of(field, f"{path}.{name}") for name, field in schema.get("properties", {}).items()))


_FREE_FORM = (".resources.limits", ".resources.requests", ".matchLabels", ".nodeSelector", ".configOverride")


def _fields_in(value: Any, path: str = "") -> set[str]:
    if isinstance(value, list):
        return set().union(*(_fields_in(inner, path) for inner in value))
    if not isinstance(value, dict) or path.endswith(_FREE_FORM):
        return set()
    found = {f"{path}.{name}" for name in value}
    return found.union(*(_fields_in(inner, f"{path}.{name}") for name, inner in value.items()))


def _covers(read: Any, given: Any) -> bool:
    if isinstance(given, dict):
        return all(key in read and _covers(read[key], value) for key, value in given.items())
    if isinstance(given, list):
        return len(read) == len(given) and all(_covers(*pair) for pair in zip(read, given, strict=True))
    return bool(read == given)
