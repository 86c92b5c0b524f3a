"""What one key of a recipe comes to, and the small rules that the tables of both formats are made of."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class Applied:
    """A key that sets a field of the spec."""

    key: str
    field: str
    value: Any


@dataclass(frozen=True, slots=True)
class Note:
    """A key that sets nothing, and why; of a refused one, what to do."""

    key: str
    why: str


Outcome = Applied | Note


class Refused(Exception):
    """The key asks for something that is not done here; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Translation:
    """All keys of a recipe, each in one place."""

    applied: tuple[Applied, ...] = ()
    left: tuple[Note, ...] = ()
    refused: tuple[Note, ...] = ()
    unknown: tuple[str, ...] = ()

    def refusal(self) -> str:
        """The first refusals in words; "" when there is none."""
        named = [f"{note.key}: {note.why}" for note in self.refused[:3]]
        more = [f"and {len(self.refused) - 3} more"] if len(self.refused) > 3 else []
        return "; ".join([*named, *more])


Recipe = Mapping[str, Any]
Rule = Callable[[str, Any, Recipe], Iterable[Outcome]]
_STAGE = re.compile(r"(?:zero|z)_?([0-3])")
_NOTHING = ("", "none", "null")


def absent(value: Any) -> bool:
    """Both formats write keys without a value for what is not wanted."""
    return value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING)


def left(why: str) -> Rule:
    """Nothing of the model depends on it here, or the spec says it."""
    return lambda key, _value, _recipe: [Note(key, why)]


def refused(fix: str, unless: Iterable[Any] = (False,)) -> Rule:
    """Not done here, unless it is switched off."""

    def rule(key: str, value: Any, _recipe: Recipe) -> list[Outcome]:
        if any(value is one or (value == one and not isinstance(value, bool)) for one in unless):
            return [Note(key, "switched off")]
        raise Refused(fix)

    return rule


def only(values: Mapping[Any, str], fix: str) -> Rule:
    """Just these values say what is done here anyway; each with the reason."""

    def rule(key: str, value: Any, _recipe: Recipe) -> list[Outcome]:
        plain = isinstance(value, bool | int | float | str)
        found = values.get(value.lower() if isinstance(value, str) else value) if plain else None
        if found is None:
            raise Refused(f"{shown(value)} is not done here; {fix}")
        return [Note(key, found)]

    return rule


def whole(field: str, low: int, high: int) -> Rule:
    """A whole number within the field's bounds."""

    def rule(key: str, value: Any, _recipe: Recipe) -> list[Outcome]:
        return [Applied(key, field, whole_number(value, low, high))]

    return rule


def decimal(field: str, low: str, high: str | None = None, above: bool = False) -> Rule:
    """A number that the spec has as a decimal in a string. `above`: the lowest one itself is not meant."""

    def rule(key: str, value: Any, _recipe: Recipe) -> list[Outcome]:
        number = _decimal(value)
        least, most = Decimal(low), Decimal(high) if high is not None else None
        if number < least or (above and number == least) or (most is not None and number > most):
            bound = f"above {low}" if above else f"at least {low}"
            raise Refused(f"{shown(value)} is not a number {bound}" + (f" and at most {high}" if high else ""))
        return [Applied(key, field, format(number, "f") if abs(number) >= Decimal("0.001") else f"{number:g}")]

    return rule


def choice(field: str, values: Mapping[str, str], fix: str) -> Rule:
    """One of a few words."""

    def rule(key: str, value: Any, _recipe: Recipe) -> list[Outcome]:
        found = values.get(value.lower()) if isinstance(value, str) else None
        if found is None:
            raise Refused(f"{shown(value)} is not done here; {fix}")
        return [Applied(key, field, found)]

    return rule


def switch(on: tuple[str, Any], off: tuple[str, Any] | str) -> Rule:
    """Yes sets one thing, no another, or nothing for the reason that is given."""

    def rule(key: str, value: Any, _recipe: Recipe) -> list[Outcome]:
        if yes_or_no(value):
            return [Applied(key, *on)]
        return [Note(key, off)] if isinstance(off, str) else [Applied(key, *off)]

    return rule


def yes_or_no(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise Refused(f"{shown(value)} is neither true nor false")


def whole_number(value: Any, low: int, high: int) -> int:
    number = _decimal(value)
    if number != number.to_integral_value() or not low <= number <= high:
        raise Refused(f"{shown(value)} is not a whole number from {low} to {high}")
    return int(number)


def words(value: Any) -> list[str]:
    """A list, or one text with commas."""
    given = (
        cast("list[Any]", value) if isinstance(value, list) else value.split(",") if isinstance(value, str) else [value]
    )
    if not all(isinstance(one, str) for one in given):
        raise Refused(f"{shown(value)} is not a list of names")
    return [one.strip() for one in cast("list[str]", given) if one.strip()]


def share_for_validation(key: str, value: Any, _recipe: Recipe) -> list[Outcome]:
    """A share of the rows; the test part keeps its own."""
    number = _decimal(value) * 100
    if not 0 <= number < 100 or (number != number.to_integral_value()):
        raise Refused(
            f"{shown(value)} is not a share in whole percent; set data.split.validationPercent, and take it out here"
        )
    return [Applied(key, "data.split.validationPercent", int(number))]


def zero_stage(key: str, value: Any, _recipe: Recipe) -> list[Outcome]:
    """The usual files are known by their names: zero3_bf16.json, ds_z2_config.json, ds_z3_offload_config.json."""
    name = value.rsplit("/", 1)[-1].lower() if isinstance(value, str) else ""
    found = _STAGE.search(name)
    if found is None:
        raise Refused("the file's name says no ZeRO stage; set distribution.deepspeed.zeroStage, and take it out here")
    stage = int(found[1])
    applied: list[Outcome] = [Applied(key, "distribution.deepspeed.zeroStage", stage)]
    if "offload" not in name:
        return applied
    if stage == 0 or "params" in name:
        raise Refused(
            "offloaded are the optimizer's states, with ZeRO 3 the weights too; set distribution.deepspeed.offload, and"
            " take it out here"
        )
    offloaded = "OptimizerAndParameters" if stage == 3 else "Optimizer"
    return [*applied, Applied(key, "distribution.deepspeed.offload", offloaded)]


def computed_again(key: str, value: Any, _recipe: Recipe) -> list[Outcome]:
    """Some formats have more than yes and no: where what is kept lies."""
    if not isinstance(value, bool):
        raise Refused(f"{shown(value)}: activations are computed again or kept, not moved; set true or false")
    return [Applied(key, "hyperparameters.gradientCheckpointing", value)]


def at_most_steps(key: str, value: Any, _recipe: Recipe) -> list[Outcome]:
    """In both formats a number of steps goes before epochs, and none is -1 or 0."""
    if _decimal(value) <= 0:
        return [Note(key, "no limit")]
    steps = whole_number(value, 1, 10_000_000)
    return [Applied(key, "hyperparameters.maxSteps", steps), Applied(key, "hyperparameters.epochs", 1000)]


def saved_every(key: str, value: Any, _recipe: Recipe) -> list[Outcome]:
    number = _decimal(value)
    if 0 < number < 1:
        return [
            Note(key, "a share of the run is no interval here: checkpoints are saved every hyperparameters.saveSteps")
        ]
    return [Applied(key, "hyperparameters.saveSteps", whole_number(value, 1, 1_000_000))]


def the_base_model(key: str, value: Any, recipe: Recipe) -> list[Outcome]:
    """Which model it is is the spec's to say, since policies and digests go by it; another one is no typing error."""
    uri = str(recipe.get(BASE_MODEL_URI, ""))
    hub = uri.removeprefix("hf://").partition("@")[0]
    if uri.startswith("hf://") and value != hub:
        raise Refused(f"{shown(value)} is not the model that spec.baseModel.uri names ({hub}); make them agree")
    return [Note(key, f"spec.baseModel.uri names the model ({uri})")]


BASE_MODEL_URI = "(spec.baseModel.uri)"  # put beside the keys for the rules that compare with it


def _decimal(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Refused(f"{shown(value)} is not a number")
    try:
        number = Decimal(str(value).strip())
    except (InvalidOperation, ValueError) as error:
        raise Refused(f"{shown(value)} is not a number") from error
    # Nobody means numbers beyond these, and some would fill the memory when they are written out.
    if not number.is_finite() or (number and not -30 <= number.adjusted() <= 15):
        raise Refused(f"{shown(value)} is not a number that can be meant")
    return number


def shown(value: Any) -> str:
    """A value in a message. Lists and maps are not written out: by YAML's aliases a short one may be endless."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a map"
    try:
        text = str(value)
    except ValueError:  # a whole number of thousands of digits
        return "so large a number"
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
