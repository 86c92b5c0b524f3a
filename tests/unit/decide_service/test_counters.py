"""Growth of counters from raw samples: nothing lost silently, nothing counted twice."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serin_operator.decide.service.counters import MAX_BUCKETS, Sampled, Series, of_errors, of_histogram

Samples = list[tuple[float, float]]
NOTHING = (0.0, 0.0)


def a_series(samples: Samples, pod: str = "a", **labels: str) -> Series:
    return Series({"pod": pod, "instance": f"{pod}:80", **labels}, tuple(samples))


def told(*series: Series, at: float = 1000) -> Sampled:
    return Sampled(series, at)


def test_growth_belongs_to_the_moment_of_the_later_sample() -> None:
    found = of_errors(told(a_series([(0, 10), (15, 14), (30, 20)])), told(a_series([(0, 1), (15, 1), (30, 3)])))
    assert found.between(0, 14.9, NOTHING) == (0, 0)
    assert found.between(0, 15, NOTHING) == (4, 0)
    assert found.between(15, 30, NOTHING) == (6, 2)


def test_what_is_added_up_starts_from_what_there_was() -> None:
    found = of_errors(told(a_series([(0, 10), (15, 14)])), told())
    assert found.between(0, 15, (100.0, 7.0)) == (104, 7)


def test_a_restarted_pod_counts_from_zero_and_is_not_taken_for_less() -> None:
    found = of_errors(told(a_series([(0, 500), (15, 510), (30, 3), (45, 8)])), told())
    assert found.between(0, 45, NOTHING) == (10 + 3 + 5, 0)


def test_failures_that_were_before_a_restart_are_not_counted_again() -> None:
    found = of_errors(told(a_series([(0, 500), (15, 3), (30, 9)])), told(a_series([(0, 40), (30, 2)])))
    assert found.between(0, 30, NOTHING) == (9, 2)


def test_a_pod_that_comes_back_into_sight_is_counted_by_what_it_grew_meanwhile() -> None:
    """A sum over pods would count its whole life again."""
    requests = told(a_series([(0, 5000), (300, 5100)]), a_series([(i, 10 + i) for i in range(0, 301, 15)], pod="b"))
    assert of_errors(requests, told()).between(0, 300, NOTHING) == (100 + 300, 0)


def test_the_first_sample_of_a_pod_is_only_where_counting_begins() -> None:
    requests = told(a_series([(0, 10), (15, 20)]), a_series([(15, 700), (30, 705)], pod="new"))
    found = of_errors(requests, told())
    assert found.between(0, 30, NOTHING) == (10 + 5, 0)
    assert found.known_since == (0, 15)


def test_the_first_failure_counts_although_its_series_was_not_there_before() -> None:
    found = of_errors(told(a_series([(0, 10), (15, 20)])), told(a_series([(15, 3)], status="5xx")))
    assert found.between(0, 15, NOTHING) == (10, 3)


def test_several_kinds_of_failures_of_a_pod_are_added_up() -> None:
    failures = told(a_series([(0, 1), (15, 2)], status="500"), a_series([(15, 4)], status="503"))
    assert of_errors(told(a_series([(0, 10), (15, 20)])), failures).between(0, 15, NOTHING) == (10, 5)


def test_a_sample_of_requests_that_failures_do_not_have_yet_is_no_restart() -> None:
    requests, failures = a_series([(0, 10), (15, 20), (30, 30)]), a_series([(0, 4), (15, 5)])
    assert of_errors(told(requests), told(failures)).between(0, 30, NOTHING) == (20, 1)


def buckets(*cumulative: Samples, edges: tuple[str, ...] = ("0.1", "0.5", "+Inf"), pod: str = "a") -> list[Series]:
    return [a_series(samples, pod, le=le) for samples, le in zip(cumulative, edges, strict=True)]


def test_buckets_are_taken_apart_and_pods_are_added_up() -> None:
    a = buckets([(0, 0), (15, 2)], [(0, 1), (15, 6)], [(0, 1), (15, 7)])
    b = buckets([(3, 9), (18, 10)], [(3, 9), (18, 10)], [(3, 9), (18, 10)], pod="b")
    edges, found = of_histogram(told(*a, *b))
    assert edges == (0.1, 0.5)
    assert found.between(0, 20, (0.0, 0.0, 0.0)) == (2 + 1, 3, 1)


def test_a_restarted_histogram_counts_whole() -> None:
    _, found = of_histogram(told(*buckets([(0, 9), (15, 1)], [(0, 9), (15, 2)], [(0, 9), (15, 12)])))
    assert found.between(0, 15, (0.0, 0.0, 0.0)) == (1, 1, 10)


@pytest.mark.parametrize(
    ("series", "said"),
    [
        pytest.param([a_series([(0, 1)])], "no label le", id="no le"),
        pytest.param([a_series([(0, 1)], le="fast")], "no label le", id="le is no number"),
        pytest.param(buckets([(0, 1)], [(0, 1)], edges=("0.1", "0.5")), "not the buckets", id="no +Inf"),
        pytest.param(buckets([(0, 1)], [(0, 1)], edges=("1", "+Inf")), "not the buckets", id="one bucket"),
        pytest.param(buckets([(0, 1)], [(0, 1)], [(0, 1)], edges=("0", "1", "+Inf")), "above 0", id="le 0"),
        pytest.param(
            [a_series([(0, 1)], le=str(i + 1)) for i in range(MAX_BUCKETS + 1)], "at most 256", id="too many buckets"
        ),
        pytest.param(
            [
                *buckets([(0, 1)], [(0, 1)], [(0, 1)]),
                *buckets([(0, 1)], [(0, 1)], [(0, 1)], edges=("0.2", "0.6", "+Inf"), pod="b"),
            ],
            "different buckets",
            id="pods disagree",
        ),
    ],
)
def test_what_is_no_histogram_is_told(series: list[Series], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        of_histogram(told(*series))


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.integers(0, 30), min_size=2, max_size=30),
    st.sets(st.integers(1, 28)),
    st.lists(st.floats(0, 450), max_size=12),
)
def test_however_time_is_cut_the_parts_add_up_to_the_whole(
    grown: list[int], unseen: set[int], cuts: list[float]
) -> None:
    """Also when scrapes were missed in between."""
    total, samples = 0, list[tuple[float, float]]()
    for number, more in enumerate(grown):
        total += more
        if number not in unseen or number == len(grown) - 1:
            samples.append((15.0 * number, total))
    found = of_errors(told(a_series(samples)), told())
    moments = [0.0, *sorted(cuts), 450.0]
    read = NOTHING
    for after, until in pairwise(moments):
        read = found.between(after, until, read)
    assert read == (samples[-1][1] - samples[0][1], 0)
