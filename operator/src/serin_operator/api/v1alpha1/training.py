"""How a training ends before its last step: by itself when nothing is gained any more, or because something is wrong."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from serin_operator.api.base import ApiModel, decimal
from serin_operator.api.v1alpha1.shared import NonNegativeDecimal


class EarlyStopping(ApiModel):
    """Ends training when the validation loss, measured at each save, has not fallen by more than `minDelta` for `patience`
    measurements in a row, and never before `minSteps` steps. It counts as a success; which checkpoint becomes the model is
    `checkpoints.consolidate`'s to say.
    """

    patience: Annotated[int, Field(ge=1, le=1000)] = 3
    min_delta: NonNegativeDecimal = "0.0"
    min_steps: Annotated[int, Field(ge=0, le=10_000_000)] = 0


class Reaction(StrEnum):
    """What to do about a finding: end the training, say so and go on, or do not look."""

    STOP = "Stop"
    WARN = "Warn"
    IGNORE = "Ignore"


ExplosionFactor = Annotated[
    str,
    decimal("explosionFactor must be a number from 1.1 to 100", "double(self) >= 1.1 && double(self) <= 100.0", "2.0"),
]


class Health(ApiModel):
    """What is watched while training runs. A loss that is not a number always ends it: no later step mends that.

    The loss explodes when the mean of the last ten logged losses is more than `explosionFactor` times the lowest such
    mean, and half a nat above it. The model overfits when the validation loss is more than `overfittingPercent` above
    its lowest for three measurements in a row while the training loss has fallen on. An attempt is ended when no
    optimiser step ends for `hungAfterSeconds`; without it, for ten usual steps, 25 s at least.
    """

    loss_explosion: Reaction = Reaction.WARN
    explosion_factor: ExplosionFactor = "2.0"
    overfitting: Reaction = Reaction.IGNORE
    overfitting_percent: Annotated[int, Field(ge=1, le=1000)] = 10
    hung_after_seconds: Annotated[int, Field(ge=10, le=86400)] | None = None
