"""What a translation makes of a spec. What the spec itself says, and what a recipe says, may not disagree."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

from serin_operator.api.v1alpha1 import FineTuneJobSpec, RecipeField
from serin_operator.decide.recipes.model import Note, Translation

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Applying:
    """The spec with the recipe's fields in it, or what stands against it."""

    spec: FineTuneJobSpec | None
    fields: tuple[RecipeField, ...] = ()
    refused: tuple[Note, ...] = ()


def effective_spec(spec: FineTuneJobSpec, found: Translation) -> Applying:
    """A field that has its default takes the recipe's value; one that somebody has set must agree with it."""
    given, usual = spec.manifest(), _defaults(spec)
    refused = [*found.refused]
    for one in found.applied:
        here = _at(given, one.field)
        if here is not _MISSING and here != _at(usual, one.field) and not _same(here, one.value):
            refused.append(
                Note(one.key, f"it says {one.value}, and spec.{one.field} says {here}; take one of them out")
            )
    if refused:
        return Applying(None, refused=tuple(refused))
    fields = tuple(RecipeField(field=one.field, key=one.key, value=json.dumps(one.value)) for one in found.applied)
    made = applied_fields(spec, fields)
    return made if made.spec is None else Applying(made.spec, fields)


def applied_fields(spec: FineTuneJobSpec, fields: Iterable[RecipeField]) -> Applying:
    """The same from the fields as the status keeps them."""
    manifest = spec.manifest()
    for one in fields:
        _put(manifest, one.field, json.loads(one.value))
    _fill_up(manifest, spec)
    against = _impossible(manifest)
    if against:
        return Applying(None, refused=against)
    try:
        return Applying(FineTuneJobSpec.model_validate(manifest))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return Applying(None, refused=(Note(f"spec.{place}", str(first["msg"])),))


def _defaults(spec: FineTuneJobSpec) -> dict[str, Any]:
    """The same job with nothing said that need not be said."""
    least = {"baseModel": spec.base_model, "artifacts": spec.artifacts, "data": {"train": spec.data.train}}
    return FineTuneJobSpec.model_validate(least).manifest()


def _fill_up(manifest: dict[str, Any], spec: FineTuneJobSpec) -> None:
    """Training gets what validation leaves, after the test part."""
    split = manifest["data"]["split"]
    if split["validationPercent"] != spec.data.split.validation_percent:
        split["trainPercent"] = 100 - split["validationPercent"] - split["testPercent"]


def _impossible(manifest: Mapping[str, Any]) -> tuple[Note, ...]:
    """Rules that the apiserver holds for what people write, and nobody for what is put together here."""
    split, method = manifest["data"]["split"], manifest["method"]
    found: list[Note] = []
    if split["trainPercent"] < 1:
        found.append(Note("data.split", "the validation and test parts leave nothing to train on"))
    if split["strategy"] == "Provided" and split["validationPercent"] != 10:
        found.append(
            Note("data.split", "with strategy Provided the files are the parts: take the validation share out")
        )
    if manifest.get("earlyStopping") and split["strategy"] != "Provided" and not split["validationPercent"]:
        found.append(Note("earlyStopping", "it needs validation rows, and their share is 0"))
    hyper, asked = manifest["hyperparameters"], manifest["distribution"]
    if "warmupSteps" in hyper and "warmupRatio" in hyper:
        found.append(Note("warmup_ratio", "steps and a share of them both say how long the rate rises; take one out"))
    together = hyper.get("globalBatchSize")
    if together is not None and hyper["gradientAccumulationSteps"] != 1:
        found.append(
            Note("gradient_accumulation_steps", "it follows from hyperparameters.globalBatchSize; take one out")
        )
    if together is not None and together % (hyper["batchSize"] * asked["nodes"] * asked["processesPerNode"]):
        found.append(Note("hyperparameters.globalBatchSize", "it is no multiple of batch size x nodes x processes"))
    if method.get("lora") is not None and method["type"] not in ("LoRA", "QLoRA", "Auto"):
        found.append(Note("method.lora", "it goes with method.type: LoRA, QLoRA or Auto"))
    if method["type"] == "QLoRA" and asked["deepspeed"]["zeroStage"] == 3:
        found.append(Note("deepspeed", "weights of 4 bits are not cut among processes: take a ZeRO stage below 3"))
    limits: Mapping[str, Any] = asked["resources"].get("limits") or {}
    if hyper.get("precision") == "FP16" and not any("/" in name for name in limits):
        found.append(
            Note("fp16", "without an accelerator in distribution.resources.limits it is not done; take it out")
        )
    if manifest["data"]["rowEnding"] == "Newline" and ("lossOn" in manifest["data"] or "packing" in manifest["data"]):
        found.append(
            Note("data.rowEnding", "running text is learned whole and not packed: take packing and its like out")
        )
    return tuple(found)


def _at(manifest: Mapping[str, Any], field: str) -> Any:
    found: Any = manifest
    for part in field.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return _MISSING
        found = cast("Mapping[str, Any]", found)[part]
    return found


def _put(manifest: dict[str, Any], field: str, value: Any) -> None:
    *parents, last = field.split(".")
    place = manifest
    for part in parents:
        place = place.setdefault(part, {})
    place[last] = value


def _same(one: Any, other: Any) -> bool:
    """2e-4 and 0.0002 are one number."""
    try:
        return float(one) == float(other)
    except (TypeError, ValueError):
        return bool(one == other)
