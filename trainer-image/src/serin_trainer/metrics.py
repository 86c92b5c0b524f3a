"""What a training run tells while it runs: Prometheus gauges, served by rank 0."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Gauge, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

PORT = 9400
CURVE_PARTS = 20


class GpuUse(NamedTuple):
    busy: float
    """Share of NVML's last sample period in which something ran on it, 0 to 1; NaN where NVML does not answer."""
    memory_used: int
    """Bytes, of all processes that use it."""
    memory: int
    """Bytes that it has."""


class LossCurve(Collector):
    """The training loss from the first step to the last logged one, in parts of equal length: the mean of each.

    One look shows the whole run, also to who was not there before; what is scraped for years goes by `serin_train_loss`.
    """

    def __init__(self, losses: Sequence[float]) -> None:
        self._losses = losses

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("serin_train_loss_curve", "Mean training loss by part of the run", labels=["part"])
        for number, mean in enumerate(curve(list(self._losses))):
            family.add_metric([f"{number:02}"], mean)
        yield family


def curve(losses: Sequence[float]) -> list[float]:
    """Means of CURVE_PARTS parts, or as many as there are losses."""
    parts = min(CURVE_PARTS, len(losses))
    edges = [len(losses) * part // parts for part in range(parts + 1)] if parts else []
    return [math.fsum(losses[a:b]) / (b - a) for a, b in pairwise(edges)]


def perplexity(loss: float) -> float:
    """exp of a mean cross-entropy per token in nats; infinite where it is beyond what a float holds."""
    return math.exp(loss) if loss < 700 else math.inf


class TrainMetrics:
    """The gauges of one training run, in a registry of their own."""

    def __init__(self, losses: Sequence[float] = ()) -> None:
        """`losses`: the run's training losses so far; they are read when somebody asks."""
        self.registry = CollectorRegistry()
        self.step = self._gauge("step", "Optimiser steps done")
        self.total_steps = self._gauge("total_steps", "Optimiser steps of the whole run")
        self.loss = self._gauge("loss", "Training loss at the last logged step")
        self.eval_loss = self._gauge("eval_loss", "Loss on the validation rows, once measured")
        self.perplexity = self._gauge("perplexity", "exp of the training loss at the last logged step")
        self.eval_perplexity = self._gauge("eval_perplexity", "exp of the loss on the validation rows, once measured")
        self.learning_rate = self._gauge("learning_rate", "Learning rate at the last logged step")
        self.gradient_norm = self._gauge("gradient_norm", "Gradient norm before clipping at the last logged step")
        self.tokens_per_second = self._gauge("tokens_per_second", "Training tokens a second of all processes")
        self.eta_seconds = self._gauge("eta_seconds", "Estimated seconds until the last step")
        self.gpu_busy = self._gauge("gpu_busy", "Share of the time in which rank 0's GPU computed, 0 to 1")
        self.gpu_memory_used = self._gauge("gpu_memory_used_bytes", "Memory in use on rank 0's GPU")
        self.gpu_memory = self._gauge("gpu_memory_bytes", "Memory that rank 0's GPU has")
        self.registry.register(LossCurve(losses))
        # A sentence is an odd label; of each reason there is one in a run at most, and it says what the number cannot.
        self.warnings = Gauge(
            "serin_train_warning", "Something to look at, once found", ["reason", "message"], registry=self.registry
        )

    def serve(self) -> None:
        """Starts the endpoint; SERIN_METRICS_PORT moves it where several runs share a machine."""
        start_http_server(int(os.environ.get("SERIN_METRICS_PORT", PORT)), registry=self.registry)

    def show_loss(self, loss: float) -> None:
        self.loss.set(loss)
        self.perplexity.set(perplexity(loss))

    def show_eval_loss(self, loss: float) -> None:
        self.eval_loss.set(loss)
        self.eval_perplexity.set(perplexity(loss))

    def show_gpu(self, use: GpuUse | None) -> None:
        if use is not None:
            self.gpu_busy.set(use.busy)
            self.gpu_memory_used.set(use.memory_used)
            self.gpu_memory.set(use.memory)

    def _gauge(self, name: str, text: str) -> Gauge:
        gauge = Gauge(f"serin_train_{name}", text, registry=self.registry)
        # Not yet measured is not zero.
        gauge.set(float("nan"))
        return gauge
