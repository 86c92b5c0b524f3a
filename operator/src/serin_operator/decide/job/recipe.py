"""`spec.configFrom` in the job's loop: the spec with the recipe's fields in it, and what is told of the recipe.

The operator reads the ConfigMap, and no pod does: stages' keys, the number of pods and what they ask for come from the
spec, so what a recipe says must be known before the first pod, and a recipe that is refused must cost none. What was
understood last is kept in status: while the ConfigMap is away, the job stays what it is.
"""

import json
from dataclasses import dataclass, replace
from typing import Final

from serin_operator.api.contract import PrepareRecipe, RecipeKey
from serin_operator.api.v1alpha1 import ConfigFrom, RecipeStatus
from serin_operator.decide.conditions import Finding, false, true
from serin_operator.decide.job.references import Missing
from serin_operator.decide.job.snapshot import JobSnapshot
from serin_operator.decide.recipes import Translation, effective_spec, translate
from serin_operator.decide.recipes.applying import applied_fields

CONDITION: Final = "ConfigTranslated"
_NAMED: Final = 10  # unknown keys that a condition has room for


@dataclass(frozen=True, slots=True)
class Taken:
    """The snapshot to go by, and what is told."""

    snapshot: JobSnapshot
    readable: bool = True  # False: nothing is known of what to do, now or from before
    missing: Missing | None = None
    finding: Finding | None = None
    status: RecipeStatus | None = None


def with_recipe(s: JobSnapshot) -> Taken:
    """The snapshot with the recipe's fields in the spec."""
    wanted = s.job.spec.config_from
    if wanted is None:
        return Taken(s)
    source = s.recipe
    if source is None or not source.exists:
        return _as_before(
            s,
            "ConfigMapNotFound",
            f"spec.configFrom names the ConfigMap {wanted.config_map_ref.name!r}, which does not exist in namespace"
            f" {s.job.metadata.namespace!r}; apply it or correct the name, and the job goes on by itself",
        )
    if source.text is None:
        has = f"has {', '.join(source.keys[:8])}" if source.keys else "is empty"
        return _as_before(
            s,
            "ConfigMapKeyMissing",
            f"spec.configFrom.key is {wanted.key!r}, and the ConfigMap {wanted.config_map_ref.name!r} {has}; correct one of"
            " them, and the job goes on by itself",
        )
    found = translate(source.text, wanted.format, s.job.spec.base_model.uri)
    made = effective_spec(s.job.spec, found)
    if made.spec is None:
        return _refused(s, wanted, replace(found, refused=made.refused))
    return Taken(
        replace(s, job=s.job.model_copy(update={"spec": made.spec}), translation=found),
        finding=_finding(wanted, found),
        status=RecipeStatus(fields=list(made.fields)) if made.fields else None,
    )


def told(s: JobSnapshot) -> PrepareRecipe | None:
    """What became of each key, for Prepare's report."""
    wanted, found = s.job.spec.config_from, s.translation
    if wanted is None or found is None:
        return None
    return PrepareRecipe(
        format=wanted.format.value,
        source=f"{wanted.config_map_ref.name}/{wanted.key}",
        keys=(
            *(RecipeKey(key=one.key, field=one.field, value=json.dumps(one.value)) for one in found.applied),
            *(RecipeKey(key=one.key, why=one.why) for one in found.left),
        ),
        unknown=found.unknown,
    )


def _refused(s: JobSnapshot, wanted: ConfigFrom, found: Translation) -> Taken:
    count = len(found.refused)
    keys = "a key" if count == 1 else f"{count} keys"
    return _as_before(
        s,
        "ConfigRefused",
        f"{keys} of {wanted.config_map_ref.name}/{wanted.key} cannot be done as written: {found.refusal()}",
    )


def _as_before(s: JobSnapshot, reason: str, message: str) -> Taken:
    """Nothing new starts; what a recipe of before began goes on."""
    before = s.job.status.recipe
    missing, finding = Missing(reason, message), false(CONDITION, reason, message)
    made = applied_fields(s.job.spec, before.fields) if before is not None else None
    if made is None or made.spec is None:
        return Taken(s, readable=False, missing=missing, finding=finding, status=before)
    return Taken(replace(s, job=s.job.model_copy(update={"spec": made.spec})), True, missing, finding, before)


def _finding(wanted: ConfigFrom, found: Translation) -> Finding:
    keys = len({one.key for one in (*found.applied, *found.left)}) + len(found.unknown)
    said = (
        f"{keys} keys of {wanted.config_map_ref.name}/{wanted.key} ({wanted.format.value}):"
        f" {len({one.key for one in found.applied})} set fields of the spec, {len(found.left)} change nothing here"
    )
    if not found.unknown:
        return true(CONDITION, "Translated", f"{said}; Prepare's report says which")
    named = ", ".join(found.unknown[:_NAMED]) + (
        f" and {len(found.unknown) - _NAMED} more" * (len(found.unknown) > _NAMED)
    )
    return true(CONDITION, "UnknownKeys", f"{said}, and {len(found.unknown)} unknown ones were not applied: {named}")
