"""The answer: one small JSON document that says how a stage went.

It goes to the pod's termination log, which Kubernetes cuts at 4,096 bytes, and beside the output as `result.json`,
always the last file written there. It is made to fit by shortening the sentences for people, never the output.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from .errors import StageError
from .files import write_atomically

MAX_BYTES = 4096
FILE_NAME = "result.json"

Reason = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]{0,63}$")]
Count = Annotated[int, Field(ge=0)]


class Document(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True, frozen=True)


class RowCounts(Document):
    read: Count
    kept: Count
    train: Count
    validation: Count
    test: Count


class TokenCounts(Document):
    train: Count
    p50: Count
    p95: Count
    max: Count


class PrepareOutput(Document):
    data_uri: str
    data_digest: str
    test_uri: str
    base_model_digest: str
    base_model_uri: str | None = None  # of the copy, where Prepare made one
    sources_digest: str
    method: Literal["Full", "LoRA", "QLoRA"] | None = None  # where it was to be chosen, and why it is this one
    method_reason: str | None = None
    rows: RowCounts
    dropped: dict[str, int]
    tokens: TokenCounts
    report_uri: str
    page_uri: str


class Warned(Document):
    """Something that a person should look at, though the run went on."""

    reason: Reason
    message: str


class TrainOutput(Document):
    checkpoint_uri: str
    steps: Count
    stopped_early: bool = False
    warnings: list[Warned] = []
    train_loss_first: float
    train_loss_last: float
    eval_loss: float | None
    tokens: Count
    tokens_per_second: float
    world_size: Count
    zero_stage: Count
    precision: Literal["bf16", "fp16", "fp32"]
    learning_rate: float | None = None  # the highest of the schedule
    resumed_from_step: int | None
    tensorboard_uri: str | None = None
    mlflow_uri: str | None = None  # of the page that shows the run
    wandb_uri: str | None = None  # the same, or where the files for `wandb sync` are


class ConsolidateOutput(Document):
    model_uri: str
    digest: str
    size_bytes: Count
    parameters: Count
    files: Count


class CopyOutput(Document):
    uri: str
    files: Count
    size_bytes: Count
    skipped: Count  # that lay there already


class NoOutput(Document):
    """A failed stage has none."""


class Result(Document):
    """What every stage answers; `output` is the stage's own on success."""

    stage: str
    key: str
    outcome: Literal["Succeeded", "Failed"]
    reason: Reason
    message: str
    advice: str
    output: PrepareOutput | TrainOutput | ConsolidateOutput | CopyOutput | NoOutput


class PrepareResult(Result):
    stage: Literal["Prepare"]
    output: PrepareOutput | NoOutput


class TrainResult(Result):
    stage: Literal["Train"]
    output: TrainOutput | NoOutput


class ConsolidateResult(Result):
    stage: Literal["Consolidate"]
    output: ConsolidateOutput | NoOutput


class CopyResult(Result):
    stage: Literal["Copy"]
    output: CopyOutput | NoOutput


def succeeded(
    stage: str,
    key: str,
    message: str,
    output: PrepareOutput | TrainOutput | ConsolidateOutput | CopyOutput,
    advice: str = "",
) -> Result:
    return Result(
        stage=stage, key=key, outcome="Succeeded", reason="Succeeded", message=message, advice=advice, output=output
    )


def failed(stage: str, key: str, error: BaseException) -> Result:
    """Any exception as a document; one that is not ours is named by its type, as nobody foresaw it."""
    if isinstance(error, StageError):
        reason, message, advice = error.reason, error.message, error.advice
    else:
        reason, message = "Unexpected", f"{type(error).__name__}: {error}"
        advice = "see the pod's log for the traceback"
    return Result(
        stage=stage, key=key, outcome="Failed", reason=reason, message=message, advice=advice, output=NoOutput()
    )


def encode(result: Result) -> bytes:
    """The document in at most 4,096 bytes of UTF-8."""
    document = result.model_dump(by_alias=True, mode="json")
    for field in ("message", "advice"):
        excess = len(_bytes(document)) - MAX_BYTES
        if excess > 0:
            document[field] = _shortened(document[field], excess)
    encoded = _bytes(document)
    if len(encoded) > MAX_BYTES:
        raise ValueError(f"the result's output alone takes more than {MAX_BYTES} bytes ({len(encoded)})")
    return encoded


def report(result: Result, output_directory: Path | None) -> None:
    """Writes the document where the kubelet and the next pod of this key look."""
    encoded = encode(result)
    if output_directory is not None:
        try:
            write_atomically(output_directory / FILE_NAME, encoded)
        except OSError as error:
            if result.outcome == "Succeeded":
                raise
            # The failure may be that very volume; the termination log still tells.
            print(f"result.json could not be written beside the output: {error}", flush=True)
    write_termination_log(encoded)


def finished(output_directory: Path, key: str) -> Result | None:
    """The successful result of this very key that an earlier pod left, if any."""
    try:
        result = Result.model_validate_json((output_directory / FILE_NAME).read_bytes())
    except (OSError, ValidationError):
        return None
    return result if result.key == key and result.outcome == "Succeeded" else None


def write_termination_log(encoded: bytes) -> None:
    """Where the kubelet looks for what a container said in the end."""
    # A bind mount of the kubelet's: it can be written but not replaced.
    path = Path(os.environ.get("SERIN_RESULT_PATH", "/dev/termination-log"))
    with path.open("wb") as stream:
        stream.write(encoded)
        stream.flush()
        os.fsync(stream.fileno())


def _bytes(document: dict[str, object]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _shortened(text: str, excess: int) -> str:
    """The text with `excess` bytes less in JSON, ending in an ellipsis."""
    room = len(json.dumps(text, ensure_ascii=False).encode()) - excess
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if len(json.dumps(text[:middle] + "…", ensure_ascii=False).encode()) <= room:
            low = middle
        else:
            high = middle - 1
    return text[:low] + "…" if low else ""
