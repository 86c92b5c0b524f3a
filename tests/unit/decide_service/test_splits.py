"""Numbers of pods for the shares of a canary: never more than was asked, as close as they go, with as few pods as that takes."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product

import pytest
from serin_operator.api.v1alpha1 import Limits
from serin_operator.decide.service import ServiceSnapshot, ratio
from serin_operator.decide.service.ratio import Split
from support.by_pods import ByPods, a_service_by_pods


def splits(
    asked: list[int], replicas: int, most: int | None = None, stride: int | None = None
) -> list[tuple[int, int] | None]:
    steps = [{"weightPercent": percent, "holdSeconds": 1} for percent in asked]
    found = ratio.splits(snapshot(steps, replicas, most, stride))
    return [(split.stable, split.candidate) if split is not None else None for split in found]


def snapshot(
    steps: list[dict[str, int]], replicas: int, most: int | None = None, stride: int | None = None
) -> ServiceSnapshot:
    found = ByPods(a_service_by_pods(replicas, most, steps=steps)).snapshot()
    return replace(found, limits=Limits(max_canary_step_percent=stride) if stride is not None else None)


@pytest.mark.parametrize(
    ("asked", "replicas", "most", "found"),
    [
        ([25, 100], 3, None, [(3, 1), (3, 3)]),
        ([50, 100], 1, None, [(1, 1), (1, 1)]),
        ([10, 100], 1, 10, [(9, 1), (1, 1)]),
        ([5, 25, 100], 10, 20, [(19, 1), (12, 4), (10, 10)]),
        ([30, 100], 3, 6, [(3, 1), (3, 3)]),
        ([30, 100], 3, 10, [(7, 3), (3, 3)]),
        ([75, 100], 3, None, [(3, 3), (3, 3)]),
        ([75, 100], 3, 12, [(3, 9), (3, 3)]),
        ([10, 100], 1, 2, [None, (1, 1)]),
        ([100], 4, None, [(4, 4)]),
    ],
)
def test_pods_for_shares(
    asked: list[int], replicas: int, most: int | None, found: list[tuple[int, int] | None]
) -> None:
    assert splits(asked, replicas, most) == found


def test_no_share_is_more_than_was_asked_the_stable_keeps_its_pods_and_no_other_numbers_come_closer() -> None:
    for replicas, most, percent in product((1, 2, 3, 5), (2, 7, 10), (1, 5, 10, 33, 50, 66, 90, 99)):
        pods = max(most, 2 * replicas)
        possible = [
            Fraction(k, s + k)
            for s in range(replicas, pods)
            for k in range(1, pods + 1 - s)
            if 100 * k <= percent * (s + k)
        ]
        (split, _) = ratio._splits((percent, 100), replicas, pods, None)  # pyright: ignore[reportPrivateUsage]
        assert (split is None) == (not possible), (replicas, pods, percent)
        if split is not None:
            assert split.share == max(possible)
            assert split.stable >= replicas
            assert split.stable + split.candidate <= pods


def test_the_schema_refuses_exactly_the_steps_that_cannot_be_given() -> None:
    for replicas, most, percent in product((1, 2, 5), (2, 9, 10, 20), (5, 10, 11, 50, 99)):
        pods = max(most, 2 * replicas)
        (split, _) = ratio._splits((percent, 100), replicas, pods, None)  # pyright: ignore[reportPrivateUsage]
        assert (split is not None) == (percent * pods >= 100)


@pytest.mark.parametrize("stride", [10, 20, 25, 30, 50])
def test_with_a_ceiling_no_share_is_further_above_the_one_before(stride: int) -> None:
    asked = (*range(stride, 100, stride), 100)
    for replicas, pods in product((1, 2, 3, 4), (2, 5, 8, 20, 40)):
        found = ratio._splits(asked, replicas, max(pods, 2 * replicas), stride)  # pyright: ignore[reportPrivateUsage]
        reached = [Fraction(0)]
        for split in found:
            if split is None:
                break
            reached.append(split.share)
        assert all(later - earlier <= Fraction(stride, 100) for earlier, later in pairwise(reached))


@pytest.mark.parametrize(
    ("replicas", "asked"), [(2, [25, 50, 75, 100]), (3, [20, 40, 60, 80, 100]), (1, [10, 100]), (4, [100])]
)
def test_what_is_told_to_be_enough_gives_every_step_what_it_asks(replicas: int, asked: list[int]) -> None:
    steps = [{"weightPercent": percent, "holdSeconds": 1} for percent in asked]
    enough = ratio.enough(snapshot(steps, replicas))
    found = ratio._splits(tuple(asked), replicas, enough, None)  # pyright: ignore[reportPrivateUsage]
    assert [split.share * 100 if split is not None else None for split in found] == asked
    if len(asked) > 2:
        fewer = ratio._splits(tuple(asked), replicas, enough - 1, None)  # pyright: ignore[reportPrivateUsage]
        assert [split.share * 100 if split is not None else None for split in fewer] != asked


def test_alone_is_all_of_it() -> None:
    assert Split(3, 3, alone=True).share == 1
    assert Split(3, 3).share == Fraction(1, 2)
