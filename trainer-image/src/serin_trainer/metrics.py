"""What a training run tells while it runs: Prometheus gauges, served by rank 0."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Gauge, start_http_server

PORT = 9400


class TrainMetrics:
    """The gauges of one training run, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.step = self._gauge("step", "Optimiser steps done")
        self.total_steps = self._gauge("total_steps", "Optimiser steps of the whole run")
        self.loss = self._gauge("loss", "Training loss at the last logged step")
        self.eval_loss = self._gauge("eval_loss", "Loss on the validation rows, once measured")
        self.learning_rate = self._gauge("learning_rate", "Learning rate at the last logged step")
        self.gradient_norm = self._gauge("gradient_norm", "Gradient norm before clipping at the last logged step")
        self.tokens_per_second = self._gauge("tokens_per_second", "Training tokens a second of all processes")
        self.eta_seconds = self._gauge("eta_seconds", "Estimated seconds until the last step")
        # A sentence is an odd label; of each reason there is one in a run at most, and it says what the number cannot.
        self.warnings = Gauge(
            "serin_train_warning", "Something to look at, once found", ["reason", "message"], registry=self.registry
        )

    def serve(self) -> None:
        """Starts the endpoint; SERIN_METRICS_PORT moves it where several runs share a machine."""
        start_http_server(int(os.environ.get("SERIN_METRICS_PORT", PORT)), registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        gauge = Gauge(f"serin_train_{name}", text, registry=self.registry)
        # Not yet measured is not zero.
        gauge.set(float("nan"))
        return gauge
