"""The plan: what should be true after a look, and when to look again. Not here: the rules that make one."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from serin_operator.api.v1alpha1 import (
    BakeStatus,
    CandidateStatus,
    ModelRevision,
    RollbackStatus,
    RolloutRecord,
    SloStatus,
    StableStatus,
)
from serin_operator.decide.decision import Event
from serin_operator.decide.service.facts import Weights

SOON: Final = timedelta(seconds=1)
ROUTE: Final = timedelta(seconds=2)
LEAVING: Final = timedelta(seconds=5)  # pods wait to be scaled down
IDLE: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Plan:
    """What should be true after this look."""

    sentence: str
    stable: StableStatus | None
    candidate: CandidateStatus | None
    weights: Weights | None  # by revision; None leaves the shares as they are
    requeue_after: timedelta
    bake: BakeStatus | None = None
    rollback: RollbackStatus | None = None
    deploy: str = ""  # a revision to run beside stable and candidate: the first one, before there is a stable
    records: tuple[tuple[ModelRevision, RolloutRecord], ...] = ()
    events: tuple[Event, ...] = ()
    slos: tuple[SloStatus, ...] | None = None  # None keeps what status shows
    hold: str = ""  # the reason, when something must change before it goes on
