"""Metrics have vLLM's names, and buckets fine enough for the objectives that are set on them."""

from itertools import pairwise

import pytest
from prometheus_client.parser import text_string_to_metric_families
from serin_server.metrics import Metrics

HISTOGRAMS = (
    "vllm:time_to_first_token_seconds",
    "vllm:inter_token_latency_seconds",
    "vllm:request_time_per_output_token_seconds",
    "vllm:e2e_request_latency_seconds",
    "vllm:request_queue_time_seconds",
    "vllm:request_inference_time_seconds",
    "vllm:request_prefill_time_seconds",
    "vllm:request_decode_time_seconds",
    "vllm:request_prompt_tokens",
    "vllm:request_generation_tokens",
)


def families(metrics: Metrics) -> dict[str, list[tuple[str, dict[str, str], float]]]:
    return {
        family.name: [(sample.name, sample.labels, sample.value) for sample in family.samples]
        for family in text_string_to_metric_families(metrics.exposition().decode())
    }


def bounds(metrics: Metrics, name: str) -> list[float]:
    return [float(labels["le"]) for sample, labels, _ in families(metrics)[name] if sample.endswith("_bucket")][:-1]


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_a_histogram_is_there_from_the_start_with_the_models_name_and_the_engines_number(name: str) -> None:
    found = families(Metrics("bot", "bot-1"))[name]

    assert {(labels["model_name"], labels["engine"]) for _, labels, _ in found} == {("bot", "0")}


def test_counters_and_gauges_are_there_from_the_start() -> None:
    samples = [sample for family in families(Metrics("bot", "bot-1")).values() for sample in family]
    found = {name for name, labels, _ in samples if (labels.get("model_name"), labels.get("engine")) == ("bot", "0")}

    assert {
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:num_preemptions_total",
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
        "vllm:request_success_total",
    } <= found


@pytest.mark.parametrize(
    ("name", "low", "high", "factor"),
    [
        pytest.param("vllm:e2e_request_latency_seconds", 0.05, 20, 1.21, id="latency of a request"),
        pytest.param("vllm:time_to_first_token_seconds", 0.05, 20, 1.21, id="time to the first token"),
        pytest.param("vllm:inter_token_latency_seconds", 0.002, 1, 1.26, id="time between tokens"),
        pytest.param("vllm:request_generation_tokens", 4, 1024, 1.26, id="tokens of an answer"),
    ],
)
def test_buckets_are_fine_where_objectives_lie(name: str, low: float, high: float, factor: float) -> None:
    found = bounds(Metrics("bot", "bot-1"), name)
    inside = [bound for bound in found if low / factor <= bound <= high * factor]

    assert inside[0] <= low
    assert inside[-1] >= high
    assert max(larger / smaller for smaller, larger in pairwise(inside)) <= factor


def test_http_requests_are_counted_by_path_method_and_class() -> None:
    metrics = Metrics("bot", "bot-1")
    metrics.http("/v1/completions", "POST", 200)
    metrics.http("/v1/completions", "POST", 429)

    samples = families(metrics)["http_requests"]

    assert ("http_requests_total", {"handler": "/v1/completions", "method": "POST", "status": "2xx"}, 1.0) in samples
    assert ("http_requests_total", {"handler": "/v1/completions", "method": "POST", "status": "4xx"}, 1.0) in samples
