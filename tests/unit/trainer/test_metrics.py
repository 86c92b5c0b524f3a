"""What rank 0 tells while it trains."""

import math

import pytest
from prometheus_client import generate_latest
from serin_trainer.metrics import CURVE_PARTS, GpuUse, TrainMetrics, curve, perplexity


def told(metrics: TrainMetrics) -> dict[str, float]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


@pytest.mark.parametrize(
    ("losses", "means"),
    [
        pytest.param([], [], id="nothing yet"),
        pytest.param([3.0], [3.0], id="one step"),
        pytest.param([3.0, 2.0], [3.0, 2.0], id="fewer than parts"),
        pytest.param([float(n) for n in range(2 * CURVE_PARTS)], [2 * n + 0.5 for n in range(CURVE_PARTS)], id="more"),
    ],
)
def test_a_curve_is_the_means_of_equal_parts_of_the_run(losses: list[float], means: list[float]) -> None:
    assert curve(losses) == pytest.approx(means)


def test_each_loss_is_in_exactly_one_part_however_many_there_are() -> None:
    for count in range(1, 130):
        losses = [1.0 * n for n in range(count)]
        found = curve(losses)
        assert len(found) == min(count, CURVE_PARTS)
        assert found == sorted(found)
        assert losses[0] <= found[0]
        assert found[-1] <= losses[-1]
        sizes = {count // len(found), -(-count // len(found))}
        assert math.fsum(found) / len(found) == pytest.approx(sum(losses) / count, abs=max(sizes))


def test_the_curve_is_that_of_the_moment_at_which_somebody_asks() -> None:
    losses: list[float] = []
    metrics = TrainMetrics(losses)
    assert not any("curve" in name for name in told(metrics))
    losses += [4.0, 2.0]
    assert {name: value for name, value in told(metrics).items() if "curve" in name} == {
        'serin_train_loss_curve{part="00"}': 4.0,
        'serin_train_loss_curve{part="01"}': 2.0,
    }


def test_perplexity_goes_with_the_loss_and_never_ends_a_training() -> None:
    metrics = TrainMetrics([])
    metrics.show_loss(math.log(50))
    metrics.show_eval_loss(5000.0)
    found = told(metrics)
    assert found["serin_train_perplexity"] == pytest.approx(50)
    assert found["serin_train_eval_perplexity"] == math.inf
    assert perplexity(699.0) < math.inf


def test_what_was_not_measured_is_no_number() -> None:
    metrics = TrainMetrics([])
    metrics.show_gpu(None)
    found = told(metrics)
    assert all(math.isnan(found[f"serin_train_{name}"]) for name in ("gpu_busy", "gpu_memory_bytes", "perplexity"))


def test_a_gpu_is_told_by_its_time_and_its_memory() -> None:
    metrics = TrainMetrics([])
    metrics.show_gpu(GpuUse(0.87, 30 * 2**30, 80 * 2**30))
    found = told(metrics)
    assert (found["serin_train_gpu_busy"], found["serin_train_gpu_memory_used_bytes"]) == (0.87, 30 * 2**30)
    assert found["serin_train_gpu_memory_bytes"] == 80 * 2**30
