"""How often one call to the apiserver is tried, and how long it waits in between. Pure: time and chance are inputs.

A look makes ten calls: if one refusal ended the whole look, three refused calls in ten would keep most looks from ever
ending, and every new look would pay for the nine good calls again. So the single call is repeated. What keeps this
from becoming a storm is the budget: a repetition must be earned by calls that went well, so an apiserver that refuses
everything is soon asked once for each look, and looks back off.
"""

from dataclasses import dataclass

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Patience:
    """Bounds for one call. `total_seconds` is when no further try begins, `try_seconds` when one try is given up."""

    tries: int = 6
    try_seconds: float = 15
    total_seconds: float = 20

    def pause(self, tried: int, spent: float, asked: float | None, chance: float) -> float | None:
        """Seconds until the next try after `tried` tries and `spent` seconds; None when it is not tried again.

        `asked` is what the apiserver wished (Retry-After), `chance` between 0 and 1 spreads those who wait.
        """
        if tried >= self.tries:
            return None
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (tried - 1), LONGEST_PAUSE_SECONDS) * (0.5 + chance)
        pause = max(pause, asked * (1 + 0.1 * chance)) if asked is not None else pause
        return pause if spent + pause <= self.total_seconds else None


LEASE = Patience(tries=3, try_seconds=4, total_seconds=4)
"""For the Lease: a late renewal is worth nothing, and a held call must not outlast the lease."""


@dataclass(slots=True)
class Budget:
    """Repetitions that may still be made: each costs one, each call that went well earns a part of one."""

    most: float = 100.0
    earned_by_success: float = 0.6  # three refusals in ten cost 0.43 repetitions for each call that goes well
    left: float = 100.0

    def earn(self) -> None:
        self.left = min(self.left + self.earned_by_success, self.most)

    def spend(self) -> bool:
        """False when there is none left."""
        if self.left < 1:
            return False
        self.left -= 1
        return True
