"""What the benchmark of training makes of its measurements, and of what lengths its rows are."""

import ast
import re
from pathlib import Path
from statistics import mean, median

import train


def test_a_ratio_is_of_rounds_and_one_slow_round_does_not_sway_it() -> None:
    assert train.ratio([200.0, 20.0, 210.0], [100.0, 10.0, 1000.0]) == 2.0
    assert train.ratio([50.0], [100.0]) == 0.5


def test_most_chats_are_short_and_a_few_long_as_peoples_are_and_the_same_each_time() -> None:
    lengths = [len(row["output"].split()) for row in train.chats(1000)]
    assert median(lengths) < 0.75 * mean(lengths)
    assert max(lengths) == 180
    assert train.chats(20) == train.chats(20)


def test_each_peer_that_is_measured_is_a_function_of_the_peers_module() -> None:
    asked = set(re.findall(r'bench\.peer\("(\w+)"', Path(train.__file__).read_text()))
    functions = {node.name for node in ast.parse(train.PEERS.read_text()).body if isinstance(node, ast.FunctionDef)}
    assert asked == {"trl", "unpacked"}
    assert asked <= functions
