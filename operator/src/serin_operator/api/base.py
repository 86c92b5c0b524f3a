"""Building blocks of the API models: camelCase names, list types and CEL rules that reach the CRD schema.

Not here: the objects themselves (`v1alpha1/`) and the translation into a CRD (`crd.py`).
"""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

VALIDATIONS = "x-kubernetes-validations"


class ApiModel(BaseModel):
    """A piece of an object. Unknown fields are ignored here: the apiserver prunes or refuses them, and an older
    operator must be able to read an object of a newer schema."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")

    def manifest(self) -> dict[str, Any]:
        """This object as the apiserver wants it: camelCase, absent fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def rule(expression: str, message: str, **extra: str) -> dict[str, str]:
    """One CEL rule (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/)."""
    return {"rule": expression, "message": message, **extra}


def rules(*found: dict[str, Any]) -> ConfigDict:
    """The model config that puts CEL rules into the schema of a whole object."""
    extra: dict[str, Any] = {VALIDATIONS: list(found)}
    return ConfigDict(json_schema_extra=extra)


def field_rules(found: Iterable[dict[str, str]], **schema: Any) -> dict[str, Any]:
    """Schema extras that put CEL rules on one field."""
    return {VALIDATIONS: list(found), **schema}


def list_map(key: str, max_items: int, **schema: Any) -> Any:
    """Schema extras of a list that server-side apply merges by `key`."""
    return Field(
        max_length=max_items,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key], **schema},
    )


_DECIMAL = r"^-?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([eE][-+]?[0-9]{1,2})?$"


def decimal(what: str, condition: str, example: str) -> Any:
    """A decimal number written as a string (the Kubernetes API has no floats), checked by CEL at apply time."""
    message = f'{what}, in quotes, such as "{example}"'
    return Field(
        max_length=32,
        json_schema_extra=field_rules([rule(f"self.matches('{_DECIMAL}') && ({condition})", message)]),
    )


_CLAIM = "[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
_PATH = "(/[A-Za-z0-9._@+=-]+)*/?"

Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=63,
        json_schema_extra=field_rules(
            [
                rule(
                    "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
                    "name must have at most 63 lower-case letters, digits and dashes, and begin and end with a letter"
                    " or digit",
                )
            ]
        ),
    ),
]

ModuleName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        json_schema_extra=field_rules(
            [
                rule(
                    "self.matches('^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$')",
                    "a module's name has letters, digits, dots, dashes and underscores, such as q_proj or attn.c_attn",
                )
            ]
        ),
    ),
]

# A digest, a key or a uid: written by the operator, put into names, labels and queries.
Word = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        json_schema_extra=field_rules(
            [rule("self.matches('^[A-Za-z0-9:._-]+$')", "it must have letters, digits, colons, dots and dashes only")]
        ),
    ),
]

PvcUri = Annotated[
    str,
    Field(
        max_length=512,
        json_schema_extra=field_rules(
            [
                rule(
                    f"self.matches('^pvc://{_CLAIM}{_PATH}$') && !self.contains('/../') && !self.endsWith('/..')",
                    "uri must be pvc://<claim>/<path> (a PersistentVolumeClaim of the same namespace), without '..'",
                )
            ]
        ),
    ),
]

# What the operator itself made of a PvcUri: namespace, job and stage come behind it.
MadeUri = Annotated[
    str,
    Field(
        max_length=1024,
        json_schema_extra=field_rules(
            [
                rule(
                    f"self.matches('^pvc://{_CLAIM}{_PATH}$') && !self.contains('/../') && !self.endsWith('/..')",
                    "uri must be pvc://<claim>/<path>, without '..'",
                )
            ]
        ),
    ),
]

DatasetUri = Annotated[
    str,
    Field(
        max_length=512,
        json_schema_extra=field_rules(
            [
                rule(
                    f"self.matches('^pvc://{_CLAIM}(/[A-Za-z0-9._@+=-]+)+$') && !self.contains('/../')"
                    " && self.matches('[.]jsonl([.]gz)?$')",
                    "uri must be pvc://<claim>/<path> of a JSON Lines file (.jsonl or .jsonl.gz), without '..'",
                )
            ]
        ),
    ),
]

_ROWS_FILE = "[.](jsonl|jsonl[.]gz|csv|parquet)$"
_BUCKET = "s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_NO_PARENT = "!self.contains('/../') && !self.endsWith('/..')"

DataUri = Annotated[
    str,
    Field(
        max_length=512,
        json_schema_extra=field_rules(
            [
                rule(
                    f"(self.matches('^pvc://{_CLAIM}(/[A-Za-z0-9._@+=-]+)+$')"
                    f" || self.matches('^{_BUCKET}(/[A-Za-z0-9._@+=-]+)*/?$')"
                    " || self.matches('^hf://datasets/[A-Za-z0-9._-]+/[A-Za-z0-9._-]+(@[A-Za-z0-9._-]+)?"
                    "(/[A-Za-z0-9._@+=-]+)+$'))"
                    f" && !self.contains('/../') && (self.matches('{_ROWS_FILE}')"
                    " || (self.startsWith('s3://') && self.endsWith('/')))",
                    "uri must be pvc://<claim>/<path>, s3://<bucket>/<key> or"
                    " hf://datasets/<organisation>/<name>[@<revision>]/<path> of a .jsonl, .jsonl.gz, .csv or .parquet"
                    " file, or s3://<bucket>/<prefix>/ (all such files below it), without '..'",
                )
            ]
        ),
    ),
]


def object_name(message: str) -> Any:
    """The name of another object of the cluster (RFC 1123 subdomain); `message` says whose."""
    named = rule("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')", message)
    return Field(min_length=1, max_length=253, json_schema_extra=field_rules([named]))


Hostname = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        json_schema_extra=field_rules(
            [
                rule(
                    "self.matches('^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')"
                    " && !self.matches('^[0-9.]+$')",
                    "a hostname must be a lower-case DNS name such as bot.example.com or *.example.com, without a"
                    " scheme, port or path",
                )
            ]
        ),
    ),
]

ModelUri = Annotated[
    str,
    Field(
        max_length=512,
        json_schema_extra=field_rules(
            [
                rule(
                    f"(self.matches('^pvc://{_CLAIM}{_PATH}$') && {_NO_PARENT})"
                    f" || (self.matches('^{_BUCKET}(/[A-Za-z0-9._@+=-]+)+/?$') && {_NO_PARENT})"
                    " || self.matches('^hf://[A-Za-z0-9._-]+/[A-Za-z0-9._-]+(@[A-Za-z0-9._-]+)?$')",
                    "uri must be pvc://<claim>/<path> or s3://<bucket>/<path>, without '..', or"
                    " hf://<organisation>/<model>[@<revision>]",
                )
            ]
        ),
    ),
]

BucketUri = Annotated[
    str,
    Field(
        max_length=256,
        json_schema_extra=field_rules(
            [
                rule(
                    f"self.matches('^{_BUCKET}(/[A-Za-z0-9._@+=-]+)*/?$') && {_NO_PARENT}",
                    "uri must be s3://<bucket> or s3://<bucket>/<path>, without '..'",
                )
            ]
        ),
    ),
]

# The revision at a hub is the model's, so nobody else names one.
CopiesUri = Annotated[
    str,
    Field(
        max_length=256,
        json_schema_extra=field_rules(
            [
                rule(
                    f"(self.matches('^{_BUCKET}(/[A-Za-z0-9._@+=-]+)*/?$') && {_NO_PARENT})"
                    " || self.matches('^hf://[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$')",
                    "uri must be s3://<bucket>[/<path>], without '..', or hf://<organisation>/<repository>, without a"
                    " revision: each model is at the folder or revision named by its digest",
                )
            ]
        ),
    ),
]

Endpoint = Annotated[
    str,
    Field(
        max_length=256,
        json_schema_extra=field_rules(
            [
                rule(
                    "self.matches('^https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$')",
                    "endpoint must be http://<host>[:<port>] or https://<host>[:<port>], without a path or a bucket",
                )
            ]
        ),
    ),
]

Region = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        json_schema_extra=field_rules(
            [
                rule(
                    "self.matches('^[a-z0-9-]+$')",
                    "region must have lower-case letters, digits and dashes: eu-central-1",
                )
            ]
        ),
    ),
]
