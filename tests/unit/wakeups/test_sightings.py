"""What was told and what was missed: whatever a watch loses, a list finds, once."""

import random
from dataclasses import replace

from serin_operator.sightings import Missed, Sighting, Sightings, older


def a_pod(version: int | str, name: str = "p", uid: str = "u") -> Sighting:
    return Sighting("ml", name, uid, str(version))


def test_only_what_is_newer_is_news() -> None:
    known = Sightings()
    assert known.heard(a_pod(5))
    assert not known.heard(a_pod(5))  # repeated
    assert not known.heard(a_pod(4))  # late
    assert known.heard(a_pod(6))
    assert known.heard(a_pod(9, uid="another"))  # deleted and created again, the deletion unheard


def test_versions_that_are_no_numbers_are_news_when_they_differ() -> None:
    known = Sightings()
    assert known.heard(a_pod("b"))
    assert not known.heard(a_pod("b"))
    assert known.heard(a_pod("a"))
    assert not older("a", "b")
    assert not older("1", "b")
    assert older("9", "10")


def test_a_list_that_agrees_misses_nothing() -> None:
    known = Sightings()
    known.heard(a_pod(5))
    assert not known.compare([a_pod(5)], "7")


def test_a_list_shows_what_was_never_told() -> None:
    known = Sightings()
    known.heard(a_pod(5))
    known.heard(a_pod(6, "gone"))
    missed = known.compare([a_pod(8), a_pod(9, "new")], "9")
    assert missed.changed == (a_pod(8), a_pod(9, "new"))
    assert missed.vanished == (a_pod(6, "gone"),)
    assert len(missed) == 3


def test_what_came_after_the_list_is_not_missing_from_it() -> None:
    known = Sightings()
    known.heard(a_pod(12))
    assert not known.compare([], "11")
    assert known.compare([], "12")


def test_a_list_from_an_older_view_brings_nothing_back() -> None:
    known = Sightings()
    known.heard(a_pod(12))
    assert not known.compare([a_pod(10)], "11")


def test_an_event_that_comes_while_the_net_waits_was_not_missed() -> None:
    known = Sightings()
    known.heard(a_pod(5))
    known.heard(a_pod(6, "gone"))
    missed = known.compare([a_pod(8)], "9")
    assert known.still(missed) == missed
    known.heard(a_pod(8))
    assert known.still(missed) == Missed((), (a_pod(6, "gone"),))
    known.heard_gone(a_pod(9, "gone"))
    assert not known.still(missed)


def test_what_was_missed_is_told_once() -> None:
    known = Sightings()
    missed = known.compare([a_pod(8)], "9")
    known.admit(missed, now=100.0)
    assert not known.compare([a_pod(8)], "9")
    assert not known.heard(a_pod(8))


def test_a_watch_is_silent_since_it_first_missed_something_until_it_tells_anything() -> None:
    known = Sightings()
    assert known.silent_since() is None
    for version in (8, 9):
        known.admit(known.compare([a_pod(version)], str(version)), now=float(version))
    assert known.silent_since() == 8.0
    known.heard(a_pod(9))
    assert known.silent_since() is None


def test_a_list_without_surprise_silences_nobody() -> None:
    known = Sightings()
    known.admit(known.compare([], "1"), now=1.0)
    assert known.silent_since() is None


def test_a_late_deletion_does_not_forget_the_successor() -> None:
    known = Sightings()
    known.heard(a_pod(5, uid="first"))
    known.admit(known.compare([a_pod(9, uid="second")], "9"), now=0.0)
    assert not known.heard_gone(a_pod(7, uid="first"))
    assert not known.compare([a_pod(9, uid="second")], "9")
    assert known.heard_gone(a_pod(11, uid="second"))
    assert len(known) == 0


def test_what_we_made_and_nobody_ever_told_of_is_missed_when_it_is_not_there() -> None:
    """Created by us and deleted by somebody between two lists, both events lost."""
    known = Sightings()
    known.made(a_pod(5))
    assert not known.compare([], "4")  # the list is older
    missed = known.compare([], "6")
    assert missed.vanished == (a_pod(5),)
    assert known.still(missed) == missed
    known.admit(missed, now=0.0)
    assert not known.compare([], "7")


def test_what_we_made_is_news_when_a_watch_or_a_list_tells_of_it() -> None:
    for told in (True, False):
        known = Sightings()
        known.made(a_pod(5))
        if told:
            assert known.heard(a_pod(5))
        else:
            known.admit(known.compare([a_pod(6)], "6"), now=0.0)
        assert known.compare([], "9").vanished == ((a_pod(5),) if told else (a_pod(6),))


def test_a_deletion_told_of_what_we_made_ends_it() -> None:
    known = Sightings()
    known.made(a_pod(5))
    known.heard_gone(a_pod(6))
    assert not known.compare([], "9")


def test_a_late_event_of_the_predecessor_does_not_hide_what_we_made() -> None:
    known = Sightings()
    known.heard(a_pod(3, uid="first"))
    known.heard_gone(a_pod(4, uid="first"))
    known.made(a_pod(8, uid="second"))
    known.heard_gone(a_pod(6, uid="first"))
    assert known.compare([], "9").vanished == (a_pod(8, uid="second"),)


def test_writing_again_what_is_known_changes_nothing() -> None:
    known = Sightings()
    known.heard(a_pod(5))
    known.made(a_pod(7))
    assert known.heard(a_pod(7))  # its event is still news
    assert known.compare([], "9").vanished == (a_pod(7),)


def test_only_the_labels_that_name_owners_are_kept() -> None:
    found = Sighting.of({"name": "p", "labels": {"serin.dev/job": "j", "app": "x" * 1000}})
    assert found.labels == (("serin.dev/job", "j"),)
    assert (found.namespace, found.uid, found.version) == ("", "", "")


def test_whatever_a_watch_does_every_version_that_lasts_is_told() -> None:
    """A world that changes, a watch that drops and delays, lists that may be old: at the end all is known."""
    for seed in range(2000):
        known, world, told = a_troubled_watch(seed)
        assert known == world, seed
        assert world <= told, seed


def a_troubled_watch(seed: int) -> tuple[set[Sighting], set[Sighting], set[Sighting]]:
    """What is known, what is there, and what was told at the end of one story."""
    chance = random.Random(seed)
    world: dict[str, Sighting] = {}
    history: list[dict[str, Sighting]] = [{}]
    late: list[tuple[Sighting, bool]] = []
    known, told = Sightings(), set[Sighting]()
    version = 0

    def tell(found: Sighting, gone: bool) -> None:
        if (known.heard_gone if gone else known.heard)(found):
            told.add(found)

    def take_list(of: int) -> None:
        missed = known.still(known.compare(history[of].values(), str(of)))
        told.update(missed.changed)
        known.admit(missed, now=0.0)

    for _ in range(60):
        version += 1
        name = chance.choice("abc")
        old = world.get(name)
        gone = old is not None and chance.random() < 0.4
        found = replace(old, version=str(version)) if old is not None else a_pod(version, name, uid=f"{name}{version}")
        world = {key: value for key, value in world.items() if key != name} | ({} if gone else {name: found})
        history.append(world)
        fate = chance.random()
        if fate < 0.5:
            tell(found, gone)
        elif fate < 0.7:
            late.append((found, gone))
        if late and chance.random() < 0.3:
            tell(*late.pop(0))
        if chance.random() < 0.2:
            take_list(chance.randint(max(0, version - 3), version))
    for each in late:
        tell(*each)
    take_list(version)
    return set(known._known.values()), set(world.values()), told
