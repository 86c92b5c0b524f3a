"""One SLO on one look: what it says, how often it said so before, and whether that is more than the user tolerates.

Breaches and looks that measured nothing are counted apart, in status, since one says that the model is bad and the other
says nothing of it. Not here: which SLOs are asked (facts.py) and what follows (canary.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from serin_operator.api.v1alpha1 import Slo, SloCounts, SloStatus, Verdict
from serin_operator.decide.service import slos
from serin_operator.decide.service.snapshot import Compared, ReadingKind


@dataclass(frozen=True, slots=True)
class Judged:
    """The bound of an SLO, its comparison with the stable, or both, with the counts after this look."""

    slo: Slo
    bound: SloStatus | None
    compared: Compared | None
    count: SloCounts

    @property
    def decides(self) -> bool:
        return not self.slo.dry_run

    @property
    def told(self) -> bool:
        """It was measured. A comparison that cannot tell yet was measured all the same."""
        return _told(self.bound, self.compared)

    @property
    def good(self) -> bool:
        """Nothing is known against it, and what was asked was told."""
        passed = self.compared is None or self.compared.proceeds or self.compared.shown.verdict is Verdict.PASSED
        return passed and (self.bound is None or self.bound.verdict is Verdict.PASSED)

    @property
    def unopposed(self) -> bool:
        """It was measured, and nothing is against it; a comparison may not be able to tell yet."""
        return self.told and not any(verdict is Verdict.FAILED for verdict in self._verdicts())

    def _verdicts(self) -> list[Verdict]:
        compared = self.compared.shown if self.compared is not None else None
        return [found.verdict for found in (self.bound, compared) if found is not None]

    @property
    def breached(self) -> bool:
        """A comparison that fails is sure; a bound is breached when more looks were outside than are tolerated."""
        if self.compared is not None and self.compared.shown.verdict is Verdict.FAILED:
            return True
        return _failed(self.bound) and self.count.failures > tolerated(self.slo)

    @property
    def shown(self) -> SloStatus:
        """As status and sentences tell it."""
        row = slos.beside(self.bound, self.compared.shown if self.compared is not None else None)
        said = [row.message, *self._counted(), *self._dry()]
        return row.model_copy(update={"message": " ".join(said), "dry_run": self.slo.dry_run or None})

    def _counted(self) -> list[str]:
        most = tolerated(self.slo)
        if not _failed(self.bound) or most == 0:
            return []
        return [f"(outside at {self.count.failures} looks, {most} are tolerated)"]

    def _dry(self) -> list[str]:
        if not self.slo.dry_run:
            return []
        return ["(dry run: it would be rolled back)" if self.breached else "(dry run)"]


def tolerated(slo: Slo) -> int:
    """Looks outside of the bounds that nothing follows from."""
    return slo.failure_limit or 0


def counted(slo: Slo, before: Iterable[SloCounts], bound: SloStatus | None, compared: Compared | None) -> SloCounts:
    """The counts of an SLO with this look."""
    last = next((count for count in before if count.name == slo.name), SloCounts(name=slo.name))
    return SloCounts(
        name=slo.name,
        failures=last.failures + _failed(bound),
        consecutive_errors=0 if _told(bound, compared) else last.consecutive_errors + 1,
    )


def erring(specs: Iterable[Slo], counts: Iterable[SloCounts]) -> list[SloCounts]:
    """SLOs that decide, and could not be measured at more looks in a row than the user tolerates."""
    limits = {slo.name: slo.consecutive_error_limit for slo in specs if not slo.dry_run}
    return [
        count for count in counts if (most := limits.get(count.name)) is not None and count.consecutive_errors > most
    ]


def _told(bound: SloStatus | None, compared: Compared | None) -> bool:
    told = bound is None or bound.verdict in (Verdict.PASSED, Verdict.FAILED)
    return told and (compared is None or compared.reading.kind is ReadingKind.VALUE)


def _failed(bound: SloStatus | None) -> bool:
    return bound is not None and bound.verdict is Verdict.FAILED
