"""A process that lost another says so; everything else it says unchanged."""

import pytest
from serin_trainer.errors import PeerLostError, naming_lost_peers


@pytest.mark.parametrize("words", ["[pair.cc] Connection closed by peer [10.0.0.1]:5", "Connection reset by peer"])
def test_a_lost_peer_is_named_and_unknown(words: str) -> None:
    with pytest.raises(PeerLostError) as lost, naming_lost_peers():
        raise RuntimeError(words + "\nmore")
    assert lost.value.exit_code == 1
    assert lost.value.reason == "PeerLost"
    assert words in lost.value.message
    assert "more" not in lost.value.message


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="out of memory"), naming_lost_peers():
        raise RuntimeError("out of memory")
