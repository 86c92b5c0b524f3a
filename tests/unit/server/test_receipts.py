"""An id tells which revision answered, to every pod of the service and to nobody who makes one up."""

import pytest
from hypothesis import given
from hypothesis import strategies as some
from serin_server.receipts import Receipts

KEY, NOW = "ab" * 32, 1_763_780_000.5
NAMES = some.from_regex(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", fullmatch=True)


@given(NAMES, some.sampled_from(("cmpl", "chatcmpl")), some.integers(0, 2**32 - 1))
def test_another_pod_reads_what_one_has_written(revision: str, kind: str, at: int) -> None:
    id_ = Receipts(KEY).write(kind, revision, at)
    found = Receipts.of(KEY).read(id_, at)
    assert found is not None
    assert (found.id, found.revision, found.at) == (id_, revision, at)
    assert id_.startswith(f"{kind}-")


def test_no_two_answers_share_an_id() -> None:
    receipts = Receipts(KEY)
    assert len({receipts.write("cmpl", "bot-1", NOW) for _ in range(1000)}) == 1000


def test_an_id_of_another_service_is_unknown() -> None:
    assert Receipts("cd" * 32).read(Receipts(KEY).write("cmpl", "bot-1", NOW), NOW) is None


def test_without_a_key_a_process_knows_its_own_ids_only() -> None:
    one = Receipts.of(None)
    id_ = one.write("cmpl", "bot-1", NOW)
    assert one.read(id_, NOW) is not None
    assert Receipts.of(None).read(id_, NOW) is None


def test_every_changed_character_makes_an_id_unknown() -> None:
    receipts = Receipts(KEY)
    id_ = receipts.write("chatcmpl", "bot-1", NOW)
    for place, letter in enumerate(id_):
        other = "1" if letter != "1" else "2"
        assert receipts.read(id_[:place] + other + id_[place + 1 :], NOW) is None, place


@pytest.mark.parametrize("text", ["", "cmpl-", "chatcmpl-" + "0" * 32, "x" * 512, "cmpl-bot-1-" + "0" * 48, "ü" * 9])
def test_what_is_no_id_of_ours_is_unknown(text: str) -> None:
    assert Receipts(KEY).read(text, NOW) is None


def test_an_answer_of_tomorrow_is_unknown_but_clocks_may_differ_a_little() -> None:
    receipts = Receipts(KEY)
    assert receipts.read(receipts.write("cmpl", "bot-1", NOW + 200), NOW) is not None
    assert receipts.read(receipts.write("cmpl", "bot-1", NOW + 400), NOW) is None
