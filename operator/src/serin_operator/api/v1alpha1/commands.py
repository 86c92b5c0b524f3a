"""What a person tells a running ModelService, beside its spec: an annotation with a nonce, and what became of it.

The spec belongs to Git; a command is about this very canary. It is `<verb>/<nonce>`, for some verbs with the name of a
ModelRevision behind it, in the annotation `serin.dev/command`. Not here: what each of them does.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from serin_operator.api.base import ApiModel
from serin_operator.api.v1alpha1.shared import Text

COMMAND: Final = "serin.dev/command"
COMMAND_BY: Final = "serin.dev/command-by"  # who says it; the chart's admission policy lets nobody write another's name

Request = Annotated[str, Field(max_length=256)]


class Verb(StrEnum):
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    SKIP = "skip"
    APPROVE = "approve"
    ABORT = "abort"
    ROLLBACK = "rollback"
    RETRY = "retry"


class CommandOutcome(StrEnum):
    """Accepted is written before anything is done about it, Done with it or after it."""

    ACCEPTED = "Accepted"
    DONE = "Done"
    REFUSED = "Refused"


class CommandStatus(ApiModel):
    """One command, as it was understood. `request` is the annotation's text; the same text is never acted on again."""

    request: Request
    verb: Verb | None = None
    revision: str | None = None
    outcome: CommandOutcome
    message: Text = ""
    asked_by: Request | None = None
    asked_through: Request | None = None  # the field manager that wrote the annotation: kubectl-annotate, argocd, ...
    at: datetime


class PauseStatus(ApiModel):
    """Nobody gets more traffic, and nothing is promoted, until a person says resume."""

    request: Request
    asked_by: Request | None = None
    since: datetime


class RollbackStatus(ApiModel):
    """The way back to an older revision: it is started first, since its pods are gone."""

    revision: str
    request: Request
    asked_by: Request | None = None
    since: datetime
    looked_at: datetime | None = None
    not_ready_seconds: int = 0
