"""Progress of a running training, asked of rank 0's own metrics. Best effort: no answer, no progress.

What answers may be anybody's pod: it is given a second and a few kilobytes, and whatever it says is either a number that
fits or nothing.
"""

import asyncio
import math
import re
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from serin_operator.api.v1alpha1 import Progress, TrainingWarning
from serin_operator.http import httpx
from serin_operator.manifests.stage_job import METRICS_PORT

TIMEOUT_SECONDS = 1.0
MAX_ANSWER_BYTES = 64 * 1024
_MOST = 10**12  # of anything that is counted; the store's integers end later
_PREFIX = "serin_train_"
_WARNING = "serin_train_warning"
_MOST_WARNINGS = 4


async def progress(client: httpx.AsyncClient, address: str) -> Progress | None:
    """What the pod at this IP says of itself; None when it does not answer (it may be starting, or be unreachable)."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return parse(await text_of(client, address))
    except (httpx.HTTPError, TimeoutError, ValueError):
        return None


async def text_of(client: httpx.AsyncClient, address: str) -> str:
    """The metrics of a pod, within bounds."""
    url = f"http://{address}:{METRICS_PORT}/metrics"
    plain = {"Accept-Encoding": "identity"}
    async with client.stream("GET", url, headers=plain, follow_redirects=False) as answer:
        answer.raise_for_status()
        if "Content-Encoding" in answer.headers:
            raise ValueError("packed, against the wish: a few bytes may be gigabytes")
        body = b""
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise ValueError("more than metrics")
    return body.decode()


def parse(text: str) -> Progress | None:
    """Progress from the Prometheus exposition text."""
    found: dict[str, float] = {}
    warnings: dict[str, TrainingWarning] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == _WARNING and len(warnings) < _MOST_WARNINGS:
                warning = _warning(sample.labels)
                warnings.setdefault(warning.reason, warning)
            elif sample.name.startswith(_PREFIX):
                found[sample.name.removeprefix(_PREFIX)] = sample.value
    total = whole(found.get("total_steps")) or 0
    if total <= 0:
        return None
    step = whole(found.get("step")) or 0
    return Progress(
        step=step,
        total_steps=total,
        percent=min(100, 100 * step // total),
        eta_seconds=whole(found.get("eta_seconds")),
        train_loss=_shown(found.get("loss")),
        eval_loss=_shown(found.get("eval_loss")),
        tokens_per_second=whole(found.get("tokens_per_second")),
        warnings=list(warnings.values()),
    )


def _warning(labels: Mapping[str, str]) -> TrainingWarning:
    reason = re.sub(r"[^A-Za-z0-9]", "", labels.get("reason", ""))[:64]
    message = " ".join("".join(character for character in labels.get("message", "") if character.isprintable()).split())
    return TrainingWarning(reason=reason or "Unnamed", message=message[:512])


def whole(value: float | None) -> int | None:
    """What can be counted; None for what cannot."""
    return int(value) if value is not None and math.isfinite(value) and 0 <= value <= _MOST else None


def _shown(value: float | None) -> str | None:
    return f"{value:.3f}" if value and math.isfinite(value) and abs(value) <= _MOST else None
