"""Ready-made queries for SLOs, and the catalogue of metric names that they stand on.

Servers rename their metrics from version to version: a preset asks for every name that is known, newest first, and takes
the one that is there. Three answers are told apart: a number; NaN, which says that the metric is there and nobody used it
within the window; and no series at all, which says that the metric is absent. Absent is never healthy.

Names: vLLM's "Production Metrics" (docs.vllm.ai) and its rule for renaming (deprecated in one minor version, hidden in the
next, removed in the one after); Envoy's cluster statistics, with the cluster names that Contour gives; Istio's standard
metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from serin_operator.api.v1alpha1 import Slo, SloPreset
from serin_operator.manifests.engines import PORT

_OURS = 'namespace="{{namespace}}",service="{{service}}",revision="{{revision}}"'
_ANSWERED = 'namespace="{{namespace}}",service="{{service}}",answered_by="{{revision}}"'
_ENVOY = f'envoy_cluster_name="{{{{namespace}}}}_{{{{backend}}}}_{PORT}"'
_ISTIO = 'reporter="source",destination_service_namespace="{{namespace}}",destination_service_name="{{backend}}"'


@dataclass(frozen=True, slots=True)
class Series:
    """One name of a metric: who has it, and by which labels a revision is found in it."""

    name: str
    of: str
    labels: str = _OURS
    unit: float = 1.0  # so many of the preset's units is one of the metric's
    from_start: bool = True  # told from 0 on; otherwise it appears with the first request


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile of a Prometheus histogram, over all pods of the revision."""

    share: float

    def number(self, series: Series) -> str:
        rates = f"sum by (le) (rate({series.name}_bucket{{{series.labels}}}[{{{{window}}}}]))"
        return _scaled(f"histogram_quantile({self.share}, {rates})", series.unit)

    def presence(self, series: Series) -> str:
        return f"count({series.name}_bucket{{{series.labels}}})"


@dataclass(frozen=True, slots=True)
class Worst:
    """The highest value of a gauge among the pods of the revision."""

    def number(self, series: Series) -> str:
        return _scaled(f"max({series.name}{{{series.labels}}})", series.unit)

    def presence(self, series: Series) -> str:
        return f"count({series.name}{{{series.labels}}})"


@dataclass(frozen=True, slots=True)
class Percent:
    """The share of a counter that also has some more labels, in percent; none of those is 0, not nothing."""

    where: dict[str, str]  # by the metric's name
    of_failures: bool = False  # those with the labels are requests that failed
    least: int = 0  # fewer than so many within the window say nothing: the share of one voice is 0 or 100 percent

    def number(self, series: Series) -> str:
        every = f"sum(rate({series.name}{{{series.labels}}}[{{{{window}}}}]))"
        some = f"sum(rate({series.name}{{{series.labels},{self.where[series.name]}}}[{{{{window}}}}]))"
        share = f"100 * ({some} or 0 * {every}) / {every}"
        if not self.least:
            return share
        return f"({share}) and (sum(increase({series.name}{{{series.labels}}}[{{{{window}}}}])) >= {self.least})"

    def presence(self, series: Series) -> str:
        return f"count({series.name}{{{series.labels}}})"


@dataclass(frozen=True, slots=True)
class Preset:
    """What is measured, in which unit, and how it is read from whichever series is there."""

    about: str
    unit: str
    reads: Quantile | Worst | Percent
    series: tuple[Series, ...]

    @property
    def query(self) -> str:
        numbers = [f"({self.reads.number(series)})" for series in self.series]
        there = [f"(NaN * {self.reads.presence(series)})" for series in self.series]
        return " or ".join([*numbers, *there])


_HERE = "vLLM and Serin's CPU server"
_HTTP = Series("http_requests_total", _HERE, _OURS + ',handler=~"/v1/.*"', from_start=False)
_ENVOY_REQUESTS = Series(
    "envoy_cluster_upstream_rq_xx", "Envoy, as Contour names its clusters", _ENVOY, from_start=False
)
_ISTIO_REQUESTS = Series("istio_requests_total", "Istio", _ISTIO, from_start=False)

FEWEST_VOICES: Final = 20
"""So many users must have spoken within the window before the share of those who are content says anything."""

CATALOGUE: Final[dict[SloPreset, Preset]] = {
    SloPreset.TIME_TO_FIRST_TOKEN_P95: Preset(
        "from a request's arrival to its first token, 95th percentile",
        "seconds",
        Quantile(0.95),
        (Series("vllm:time_to_first_token_seconds", _HERE),),
    ),
    SloPreset.INTER_TOKEN_LATENCY_P95: Preset(
        "from token to token, 95th percentile",
        "seconds",
        Quantile(0.95),
        (
            Series("vllm:inter_token_latency_seconds", "vLLM from 0.10.2 on, Serin's CPU server"),
            Series("vllm:time_per_output_token_seconds", "vLLM up to 0.11"),
        ),
    ),
    SloPreset.REQUEST_LATENCY_P95: Preset(
        "from a request's arrival to its last token, 95th percentile; long answers take long",
        "seconds",
        Quantile(0.95),
        (Series("vllm:e2e_request_latency_seconds", _HERE),),
    ),
    SloPreset.QUEUE_TIME_P95: Preset(
        "from a request's arrival to its first step, 95th percentile",
        "seconds",
        Quantile(0.95),
        (Series("vllm:request_queue_time_seconds", _HERE),),
    ),
    SloPreset.ANSWER_TOKENS_P50: Preset(
        "tokens of an answer, median",
        "tokens",
        Quantile(0.5),
        (Series("vllm:request_generation_tokens", _HERE),),
    ),
    SloPreset.WAITING_REQUESTS: Preset(
        "requests in the queue of the pod that has most",
        "requests",
        Worst(),
        (Series("vllm:num_requests_waiting", _HERE),),
    ),
    SloPreset.CACHE_USAGE_PERCENT: Preset(
        "of the KV cache, in the pod that uses most",
        "percent",
        Worst(),
        (
            Series("vllm:kv_cache_usage_perc", "vLLM from 0.9.2 on, Serin's CPU server", unit=100),
            Series("vllm:gpu_cache_usage_perc", "vLLM up to 0.10", unit=100),
        ),
    ),
    SloPreset.ERROR_PERCENT: Preset(
        "requests that the server answered with 5xx",
        "percent",
        Percent({"http_requests_total": 'status=~"5.."'}, of_failures=True),
        (_HTTP,),
    ),
    SloPreset.GATEWAY_ERROR_PERCENT: Preset(
        "requests to the revision that ended with 5xx, as the gateway saw them: pods that do not answer count too",
        "percent",
        Percent(
            {
                "envoy_cluster_upstream_rq_xx": 'envoy_response_code_class="5"',
                "istio_requests_total": 'response_code=~"5.."',
            },
            of_failures=True,
        ),
        (_ENVOY_REQUESTS, _ISTIO_REQUESTS),
    ),
    SloPreset.GATEWAY_LATENCY_P95: Preset(
        "whole requests to the revision, as the gateway saw them, 95th percentile",
        "seconds",
        Quantile(0.95),
        (
            Series("envoy_cluster_upstream_rq_time", _ENVOY_REQUESTS.of, _ENVOY, unit=0.001, from_start=False),
            Series("istio_request_duration_milliseconds", "Istio", _ISTIO, unit=0.001, from_start=False),
        ),
    ),
    SloPreset.FEEDBACK_POSITIVE_PERCENT: Preset(
        "thumbs up among all thumbs",
        "percent",
        Percent({"serin_feedback_thumbs_total": 'thumbs="up"'}, least=FEWEST_VOICES),
        (Series("serin_feedback_thumbs_total", "Serin's CPU server", _ANSWERED),),
    ),
    SloPreset.TASK_SUCCESS_PERCENT: Preset(
        "tasks that users called done among all that they told of",
        "percent",
        Percent({"serin_feedback_tasks_total": 'outcome="success"'}, least=FEWEST_VOICES),
        (Series("serin_feedback_tasks_total", "Serin's CPU server", _ANSWERED),),
    ),
}


def query_of(slo: Slo) -> str | None:
    """The query with its placeholders, written out or ready-made; none for a comparison without bounds."""
    return CATALOGUE[slo.preset].query if slo.preset is not None else slo.query


def failures(preset: SloPreset) -> list[tuple[str, str]]:
    """Selectors of requests and of those that failed, by name of the metric; none of a preset that counts something else."""
    found = CATALOGUE[preset]
    if not isinstance(found.reads, Percent) or not found.reads.of_failures:
        return []
    where = found.reads.where
    return [(f"{one.name}{{{one.labels}}}", f"{one.name}{{{one.labels},{where[one.name]}}}") for one in found.series]


def absent(preset: SloPreset) -> str:
    """What to tell when none of its series is there."""
    names = ", ".join(f"{series.name} ({series.of})" for series in CATALOGUE[preset].series)
    return (
        f"the metric of {preset} is absent, which says nothing of the model: no series {names} for this revision; check that"
        " Prometheus scrapes it, or write the query out if its server names it otherwise"
    )


def _scaled(expression: str, unit: float) -> str:
    return expression if unit == 1.0 else f"{unit:g} * {expression}"
