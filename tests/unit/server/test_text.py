"""Text goes out in whole characters, and nothing of a stop string goes out."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from serin_server.text import TextStream


def bytes_to_text(tokens: Sequence[int]) -> str:
    """A tokenizer whose tokens are bytes, the hardest case for characters of several bytes."""
    return bytes(tokens).decode("utf-8", "replace")


def streamed(text: str, stop: Sequence[str] = ()) -> tuple[list[str], TextStream]:
    stream = TextStream(bytes_to_text, stop)
    pieces: list[str] = []
    for token in text.encode():
        pieces.append(stream.push(token))
        if stream.stopped:
            break
    pieces.append(stream.flush())
    return pieces, stream


@settings(deadline=None)
@given(st.text(max_size=60))
def test_all_pieces_together_are_the_text(text: str) -> None:
    assert "".join(streamed(text)[0]) == text


def test_half_a_character_waits_for_the_other_half() -> None:
    pieces, _ = streamed("é€")

    assert pieces == ["", "é", "", "", "€", ""]


def test_half_a_character_at_the_end_is_told_as_such() -> None:
    stream = TextStream(bytes_to_text)
    assert stream.push("é".encode()[0]) == ""

    assert stream.flush() == "\N{REPLACEMENT CHARACTER}"


def test_the_text_ends_before_a_stop_string() -> None:
    pieces, stream = streamed("one two\nQ: three", ["\nQ:"])

    assert "".join(pieces) == "one two"
    assert stream.stopped


def test_the_beginning_of_a_stop_string_waits_until_it_is_none() -> None:
    pieces, stream = streamed("a\nb", ["\nQ:"])

    assert pieces == ["a", "", "\nb", ""]
    assert not stream.stopped


def test_the_beginning_of_a_stop_string_at_the_end_is_text() -> None:
    pieces, _ = streamed("a\nQ", ["\nQ:"])

    assert "".join(pieces) == "a\nQ"


def test_the_first_of_several_stop_strings_counts() -> None:
    assert "".join(streamed("abcdef", ["ef", "cd"])[0]) == "ab"


@settings(deadline=None)
@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_streaming_stops_just_where_looking_at_the_whole_text_would(text: str, stop: list[str]) -> None:
    pieces, stream = streamed(text, stop)

    # The stop string that is complete first ends the answer.
    ends = [text.index(one) + len(one) for one in stop if one in text]
    seen = text[: min(ends)] if ends else text
    cuts = [seen.index(one) for one in stop if one in seen]
    assert "".join(pieces) == (seen[: min(cuts)] if cuts else text)
    assert stream.stopped == bool(ends)


def test_a_special_token_without_text_gives_none() -> None:
    stream = TextStream(lambda tokens: "".join(chr(token) for token in tokens if token))

    assert [stream.push(97), stream.push(0), stream.push(98), stream.flush()] == ["a", "", "b", ""]
