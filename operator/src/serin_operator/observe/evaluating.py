"""How far the pods of a running evaluation are, asked of each of them. Best effort, as for training (`training.py`)."""

import asyncio
from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families

from serin_operator.api.v1alpha1 import PodProgress
from serin_operator.decide.job.snapshot import Measurer
from serin_operator.http import httpx
from serin_operator.observe.runs import PodOfRun
from serin_operator.observe.training import TIMEOUT_SECONDS, text_of, whole

_PREFIX = "serin_evaluate_"


async def measurers(client: httpx.AsyncClient, pods: Iterable[PodOfRun]) -> tuple[Measurer, ...]:
    """What each of the pods says of itself; they are asked at once."""
    return tuple(await asyncio.gather(*(_measurer(client, pod) for pod in pods)))


async def _measurer(client: httpx.AsyncClient, pod: PodOfRun) -> Measurer:
    if pod.done or pod.address is None:
        return Measurer(pod.index, done=pod.done)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return Measurer(pod.index, progress=parse(pod.index, await text_of(client, pod.address)))
    except (httpx.HTTPError, TimeoutError, ValueError):
        return Measurer(pod.index)


def parse(index: int, text: str) -> PodProgress | None:
    """Progress from the Prometheus exposition text; None when it says of none."""
    found = {
        sample.name.removeprefix(_PREFIX): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(_PREFIX)
    }
    done, total = whole(found.get("examples_done")), whole(found.get("examples_total"))
    if done is None or not total or done > total:
        return None
    return PodProgress(index=index, done=done, total=total, eta_seconds=whole(found.get("eta_seconds")))
