"""The text of a recipe, key by key through the table of its format."""

from typing import Any, Final, cast

import yaml

from serin_operator.api.v1alpha1 import RecipeFormat
from serin_operator.decide.recipes.axolotl import AXOLOTL
from serin_operator.decide.recipes.llama_factory import LLAMA_FACTORY
from serin_operator.decide.recipes.model import (
    BASE_MODEL_URI,
    Applied,
    Note,
    Recipe,
    Refused,
    Rule,
    Translation,
    absent,
)

LONGEST: Final = 32 * 1024
"""Recipes have a few kilobytes; the parser is given no chance to keep everybody waiting."""

TABLES: Final[dict[RecipeFormat, dict[str, Rule]]] = {
    RecipeFormat.AXOLOTL: AXOLOTL,
    RecipeFormat.LLAMA_FACTORY: LLAMA_FACTORY,
}
_WHOLE = "(the file)"
_EPOCHS, _STEPS = "hyperparameters.epochs", "max_steps"


class _Twice(Exception):
    """A key that stands in a mapping twice: YAML's parser would take the last one and say nothing."""


class _Loader(yaml.SafeLoader):
    """Plain data only, and each key once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _value in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise _Twice(name)
            seen.add(name)
        return super().construct_mapping(node, deep)


def translate(text: str, written_for: RecipeFormat, base_model_uri: str) -> Translation:
    """Every key of the recipe, in one place or another; nothing is guessed."""
    keys = _parsed(text)
    if isinstance(keys, Note):
        return Translation(refused=(keys,))
    table = TABLES[written_for]
    recipe = {**keys, BASE_MODEL_URI: base_model_uri}
    applied: list[Applied] = []
    left: list[Note] = []
    refused: list[Note] = []
    unknown: list[str] = []
    for key, value in keys.items():
        rule = table.get(key)
        if rule is None:
            unknown.append(key[:128])
            continue
        if absent(value):
            left.append(Note(key, "empty"))
            continue
        try:
            outcomes = list(rule(key, value, recipe))
        except Refused as error:
            refused.append(Note(key, str(error)))
            continue
        applied += [one for one in outcomes if isinstance(one, Applied)]
        left += [one for one in outcomes if isinstance(one, Note)]
    return _settled(applied, left, refused, unknown)


def _settled(applied: list[Applied], left: list[Note], refused: list[Note], unknown: list[str]) -> Translation:
    """One key for each field: two may not say two things, and a number of steps goes before one of epochs."""
    by_field: dict[str, Applied] = {}
    for one in applied:
        other = by_field.get(one.field)
        if other is None:
            by_field[one.field] = one
        elif other.value == one.value:
            left.append(Note(one.key, f"{other.key} says it of {one.field} already"))
        elif one.field == _EPOCHS and _STEPS in (one.key, other.key):
            steps, epochs = (one, other) if one.key == _STEPS else (other, one)
            by_field[one.field] = steps
            left.append(Note(epochs.key, f"{steps.key} goes before it"))
        else:
            why = f"it says {one.field} is {one.value}, and {other.key} says {other.value}; take one of them out"
            refused.append(Note(one.key, why))
    kept = tuple(by_field.values())
    setting = {one.key for one in kept}
    # A key that sets one field may repeat what another key says of a second one.
    said = {note.key: note for note in left if note.key not in setting}
    return Translation(kept, tuple(said.values()), tuple(refused), tuple(unknown))


def _parsed(text: str) -> Recipe | Note:
    if len(text.encode()) > LONGEST:
        return Note(_WHOLE, f"it has more than {LONGEST // 1024} KiB, which no recipe needs; leave the data out of it")
    try:
        found: Any = yaml.load(text, _Loader)
        if isinstance(found, dict):
            return {str(key): value for key, value in cast("dict[Any, Any]", found).items()}
    except _Twice as error:
        return Note(str(error)[:128], "it stands there twice; take one out")
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        return Note(_WHOLE, f"it is not YAML: {' '.join(str(error).split())[:200]}")
    return Note(_WHOLE, "it is not a mapping of keys to values")
