"""An A/B experiment: a step of a canary in which candidate and stable have fixed shares of the users, and what users make of
their answers decides."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from serin_operator.api.base import ApiModel, Name, rule, rules
from serin_operator.api.v1alpha1.selectors import Selector, points, token
from serin_operator.api.v1alpha1.shared import Text


class WhenBetter(StrEnum):
    """The candidate is better: it goes on to its next step, or waits for a person."""

    PROCEED = "Proceed"
    HOLD = "Hold"


class WhenWorse(StrEnum):
    """The stable is better: the candidate is rejected, or waits for a person."""

    REJECT = "Reject"
    HOLD = "Hold"


class WhenNoDifference(StrEnum):
    """Neither is better: the candidate waits for a person, is rejected, or goes on."""

    HOLD = "Hold"
    REJECT = "Reject"
    PROCEED = "Proceed"


class StickyCookie(ApiModel):
    """The Gateway sets the cookie `serin-arm` with a user's first answer, and sends who brings it to the same revision."""

    max_age_seconds: Annotated[int, Field(ge=60, le=34_560_000)] = 2_592_000


class Sticky(ApiModel):
    """By what a user is known, and so meets one revision only. Requests without it are shared out one by one."""

    model_config = rules(
        rule(
            "has(self.header) || has(self.cookie)",
            "users are known by a header or a cookie: give one, or both (the header then comes first)",
        )
    )

    header: Annotated[str, token("the header of a user's key")] | None = None
    cookie: StickyCookie | None = None


class Experiment(ApiModel):
    """The shares stay as they are until it is known for whom `successes` among `total` are more: two counters of what users
    did, such as tasks they called done. `minDifferencePoints` is the smallest difference that matters; below it there is
    none."""

    source: Name = "default"
    total: Selector
    successes: Selector
    min_difference_points: Annotated[str, points("minDifferencePoints")]
    confidence_percent: Annotated[int, Field(ge=80, le=99)] = 95
    min_outcomes: Annotated[int, Field(ge=50, le=10_000_000)] = 500
    min_seconds: Annotated[int, Field(ge=0, le=2_592_000)] = 0
    sticky: Sticky
    when_better: WhenBetter = WhenBetter.PROCEED
    when_worse: WhenWorse = WhenWorse.REJECT
    when_no_difference: WhenNoDifference = WhenNoDifference.HOLD


class ExperimentVerdict(StrEnum):
    CANDIDATE_BETTER = "CandidateBetter"
    STABLE_BETTER = "StableBetter"
    NO_DIFFERENCE = "NoDifference"


class Arm(ApiModel):
    """One revision of an experiment, and what its users did."""

    revision: str
    outcomes: int = 0
    successes: int = 0


class ExperimentStatus(ApiModel):
    """The running experiment, or the last one. Its verdict is written here before anything follows from it, and stays."""

    key: str  # of what is tried against what, and how; another key begins anew
    candidate: Arm
    stable: Arm
    since: datetime
    looked_at: datetime  # when outcomes were last read, by the cluster's clock
    state: Annotated[str, Field(max_length=1024)]
    difference_points: str | None = None  # the candidate's successes in percent, less the stable's
    from_points: str | None = None  # this and the next: where it lies, with the confidence that was asked for
    to_points: str | None = None
    verdict: ExperimentVerdict | None = None
    decided_at: datetime | None = None
    message: Text = ""
