"""The configuration of one server, as the operator mounts it (docs/reference/contract.md, "Serve").

Not here: settings of a single request (`openai.py`).
"""

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from serin_server.errors import ConfigError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$")]

ModelUri = Annotated[str, Field(pattern=r"^(pvc|s3)://[a-z0-9]|^hf://[A-Za-z0-9]", max_length=1024)]
Folder = Annotated[str, Field(pattern=r"^/[a-z0-9/-]+$", max_length=256)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Document(BaseModel):
    """A part of the config: camelCase, unknown fields refused."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class Job(Document):
    """The ModelService that this server belongs to."""

    namespace: Name
    name: Name


class Placed(Document):
    """Where files lie, and the digest that they must have. `path` is the folder that they were fetched to from a store that the
    server itself does not know; without it the uri says where a claim is mounted."""

    uri: ModelUri
    digest: Digest
    path: Folder | None = None

    @model_validator(mode="after")
    def _is_on_this_pod(self) -> Self:
        if (self.path is None) != self.uri.startswith("pvc://"):
            raise ValueError("a uri is pvc://, or its files were fetched to a path")
        return self


class Base(Placed):
    """The base model of an adapter."""


class Model(Placed):
    """The model, and the name that requests use. With a base it is an adapter."""

    base: Base | None = None
    name: Name


class ServeConfig(Document):
    """One server."""

    stage: Literal["Serve"]
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{1,128}$")]
    job: Job
    output: Literal[""] = ""
    model: Model
    revision: Name
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = 128
    max_queue: Annotated[int, Field(ge=1, le=4096)] = 64
    feedback_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


def load(path: Path) -> ServeConfig:
    """The config in the file, or a ConfigError that names the field."""
    try:
        return ServeConfig.model_validate(json.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ConfigError("InvalidConfig", f"The config {path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "content"
        raise ConfigError("InvalidConfig", f"The config's {field}: {first['msg']}.", "Change this field.") from error
    except ValueError as error:
        raise ConfigError("InvalidConfig", f"The config {path} is not JSON: {error}.") from error
