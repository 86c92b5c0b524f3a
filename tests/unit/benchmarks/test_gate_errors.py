"""The benchmark of gates: its parts are whole and all different, and are put together by how many gates each has."""

import pytest
from gate_errors import ROWS, parts, together
from support.gate_simulation import Shares


@pytest.mark.parametrize("gates", [1, 499, 500, 501, 10_000])
def test_the_parts_of_a_row_are_all_its_gates_with_seeds_of_their_own(gates: int) -> None:
    found = parts(gates)
    assert {name for name, _, _ in found} == ROWS.keys()
    for row in ROWS:
        own = [(size, seed) for name, size, seed in found if name == row]
        assert sum(size for size, _ in own) == gates
        assert len({seed for _, seed in own}) == len(own)


def test_every_row_but_the_first_leaves_one_requirement_on_its_margin() -> None:
    assert [len(better) for better in ROWS.values()] == [0, 3, 3, 3, 3]


def test_parts_weigh_as_many_gates_as_they_have() -> None:
    found = together([(300, Shares(0.1, 0.0, 1.0)), (100, Shares(0.5, 0.4, 1.0))])
    assert (found.passed, found.failed, found.failed_without_correction) == pytest.approx((0.2, 0.1, 1.0))
