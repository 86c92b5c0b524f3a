"""What was told of each object, by a watch or by a list: the memory that tells news from echoes and finds what was missed.

Pure: no I/O, and the time is an input. A version is compared as a number where it is one, as Kubernetes allows since
KEP-5504 (https://kep.k8s.io/5504); elsewhere two different versions are news.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, cast

from serin_operator.manifests import names

_LABELS = (names.JOB, names.SERVICE)  # all that a wake-up needs to know of a child that is gone


@dataclass(frozen=True, slots=True)
class Sighting:
    """One version of one object, as far as it takes to wake whom it concerns."""

    namespace: str
    name: str
    uid: str
    version: str
    labels: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Self:
        labels = cast("Mapping[str, str]", metadata.get("labels") or {})
        return cls(
            metadata.get("namespace") or "",
            metadata["name"],
            metadata.get("uid", ""),
            metadata.get("resourceVersion", ""),
            tuple((label, labels[label]) for label in _LABELS if label in labels),
        )

    @property
    def ref(self) -> tuple[str, str]:
        return self.namespace, self.name


@dataclass(frozen=True, slots=True)
class Missed:
    """What a list shows and no watch has told."""

    changed: tuple[Sighting, ...] = ()
    vanished: tuple[Sighting, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.vanished)

    def __len__(self) -> int:
        return len(self.changed) + len(self.vanished)


@dataclass(slots=True)
class Sightings:
    """The newest version known of every object of one kind."""

    _known: dict[tuple[str, str], Sighting] = field(default_factory=dict[tuple[str, str], Sighting])
    # Our own, until a watch or a list shows it: what came and went between two lists would leave no other trace.
    _made: dict[tuple[str, str], Sighting] = field(default_factory=dict[tuple[str, str], Sighting])
    _missed_at: float | None = None

    def __len__(self) -> int:
        return len(self._known)

    def made(self, found: Sighting) -> None:
        """We wrote it. Its event is news all the same."""
        if found.ref not in self._known:
            self._made[found.ref] = found

    def heard(self, found: Sighting) -> bool:
        """A watch told of an object; True when that is news. A late event of a version that a list has overtaken is none."""
        self._missed_at = None
        self._settle(found)
        known = self._known.get(found.ref)
        if known is not None and not _newer(found, known):
            return False
        self._known[found.ref] = found
        return True

    def heard_gone(self, found: Sighting) -> bool:
        """A watch told of a deletion; False when an object of that name is known to have been created since."""
        self._missed_at = None
        self._settle(found)
        known = self._known.get(found.ref)
        if known is not None and known.uid != found.uid and older(found.version, known.version):
            return False
        self._known.pop(found.ref, None)
        return True

    def compare(self, listed: Iterable[Sighting], list_version: str) -> Missed:
        """Where a complete list and what is known differ. What became known after the list was made is not missing."""
        present = {found.ref: found for found in listed}
        changed = tuple(found for found in present.values() if self._unknown(found))
        vanished = tuple(
            known
            for ref, known in (self._made | self._known).items()
            if ref not in present and not older(list_version, known.version)
        )
        return Missed(changed, vanished)

    def still(self, missed: Missed) -> Missed:
        """What no watch has told in the meantime."""
        return Missed(
            tuple(found for found in missed.changed if self._unknown(found)),
            tuple(
                found for found in missed.vanished if found in (self._known.get(found.ref), self._made.get(found.ref))
            ),
        )

    def admit(self, missed: Missed, now: float) -> None:
        """Take what was missed for known: it is told to whom it concerns once, not at every list."""
        for found in missed.changed:
            self._known[found.ref] = found
            self._made.pop(found.ref, None)
        for found in missed.vanished:
            self._known.pop(found.ref, None)
            self._made.pop(found.ref, None)
        if missed and self._missed_at is None:
            self._missed_at = now

    def silent_since(self) -> float | None:
        """When a change was first missed after which the watch has told nothing at all; None while it lives."""
        return self._missed_at

    def _settle(self, found: Sighting) -> None:
        """A watch tells of what we made; the late event of a predecessor does not."""
        mine = self._made.get(found.ref)
        if mine is not None and not older(found.version, mine.version):
            del self._made[found.ref]

    def _unknown(self, found: Sighting) -> bool:
        known = self._known.get(found.ref)
        return known is None or _newer(found, known)


def _newer(found: Sighting, known: Sighting) -> bool:
    if found.uid == known.uid and found.version == known.version:
        return False
    return not older(found.version, known.version)


def older(version: str, than: str) -> bool:
    """True when it is certain; versions that are no numbers cannot be compared."""
    return version.isdigit() and than.isdigit() and int(version) < int(than)
