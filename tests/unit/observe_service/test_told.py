"""Gauges of services are there as long as each look says so, and gone with what they were of."""

from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY
from serin_operator import telemetry

METRIC = "serin_slo_breached"


def value(service: str, slo: str) -> float | None:
    return REGISTRY.get_sample_value(METRIC, {"namespace": "ml", "service": service, "slo": slo})


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    for service in ("bot", "other"):
        telemetry.tell("ml", service, ())


def test_the_last_word_counts() -> None:
    telemetry.tell("ml", "bot", [(METRIC, "errors", 0.0)])
    telemetry.tell("ml", "bot", [(METRIC, "errors", 1.0)])
    assert value("bot", "errors") == 1.0


def test_what_is_no_longer_told_is_gone_and_other_services_keep_theirs() -> None:
    telemetry.tell("ml", "other", [(METRIC, "errors", 1.0)])
    telemetry.tell("ml", "bot", [(METRIC, "errors", 1.0), (METRIC, "latency", 0.0)])
    telemetry.tell("ml", "bot", [(METRIC, "latency", 0.0)])
    assert value("bot", "errors") is None
    assert value("bot", "latency") == 0.0
    telemetry.tell("ml", "bot", ())
    assert value("bot", "latency") is None
    assert value("other", "errors") == 1.0
