"""What users say of answers: a thumb, and whether their task was done, counted for the revision that gave the answer.

Each pod remembers what it was told of which answer, so that a client that says the same again (a retry, a double click) is
counted once. Memory is bounded: of more answers than that, the oldest are forgotten. Not here: HTTP (`app.py`).
"""

from collections import OrderedDict
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serin_server.errors import Conflict, NotFound
from serin_server.metrics import Metrics
from serin_server.receipts import Receipts

KEPT_SECONDS = 24 * 3600
"""For so long after an answer something may be said of it."""
REMEMBERED = 32768
"""Answers that a pod remembers having heard of: some 10 MB."""


class FeedbackRequest(BaseModel):
    """POST /v1/feedback."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Annotated[str, Field(min_length=1, max_length=512)]
    thumbs: Literal["up", "down"] | None = None
    task_success: bool | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "FeedbackRequest":
        if self.thumbs is None and self.task_success is None:
            raise ValueError("give thumbs, task_success, or both")
        return self

    def said(self) -> dict[str, str]:
        """What was said, by what it is said of."""
        words: dict[str, str] = {}
        if self.thumbs is not None:
            words["thumbs"] = self.thumbs
        if self.task_success is not None:
            words["task_success"] = "success" if self.task_success else "failure"
        return words


class Feedback:
    """The ear of one pod."""

    def __init__(self, receipts: Receipts, metrics: Metrics, remembered: int = REMEMBERED) -> None:
        self._receipts = receipts
        self._metrics = metrics
        self._most = remembered
        self._heard: OrderedDict[str, dict[str, str]] = OrderedDict()

    def hear(self, asked: FeedbackRequest, now: float) -> dict[str, object]:
        """Count what is new in it; the answer to the client."""
        receipt = self._receipts.read(asked.id, now)
        if receipt is None:
            raise NotFound(f"No answer of this service has the id {asked.id[:64]}.", "id", "unknown_id")
        if now - receipt.at > KEPT_SECONDS:
            raise NotFound(f"This answer is older than {KEPT_SECONDS // 3600} hours.", "id", "expired_id")
        before = self._heard.get(receipt.id, {})
        said = asked.said()
        for word, value in said.items():
            if before.get(word, value) != value:
                raise Conflict(f"{word} was said to be {before[word]} before; the first word counts.", word)
        fresh = {word: value for word, value in said.items() if word not in before}
        if fresh:
            self._remember(receipt.id, {**before, **fresh})
        if "thumbs" in fresh:
            self._metrics.thumbs(receipt.revision, fresh["thumbs"])
        if "task_success" in fresh:
            self._metrics.task(receipt.revision, fresh["task_success"])
        return {"object": "feedback", "id": receipt.id, "revision": receipt.revision, "counted": sorted(fresh)}

    def _remember(self, id_: str, said: dict[str, str]) -> None:
        self._heard[id_] = said
        if len(self._heard) > self._most:
            self._heard.popitem(last=False)
