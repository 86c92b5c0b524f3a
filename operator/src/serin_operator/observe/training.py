"""Progress of a running training, asked of rank 0's own metrics. Best effort: no answer, no progress.

What answers may be anybody's pod: it is given a second and a few kilobytes, and whatever it says is either a number that
fits or nothing.
"""

import asyncio
import math
import re
from collections.abc import Mapping, Sequence

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
_CURVE = "serin_train_loss_curve"
_MOST_PARTS = 32
_BARS = "▁▂▃▄▅▆▇█"


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
    curve: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == _WARNING and len(warnings) < _MOST_WARNINGS:
                warning = _warning(sample.labels)
                warnings.setdefault(warning.reason, warning)
            elif sample.name == _CURVE and len(curve) < _MOST_PARTS:
                curve[sample.labels.get("part", "")[:8]] = sample.value
            elif sample.name.startswith(_PREFIX) and not sample.labels:
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
        train_perplexity=_digits(found.get("perplexity")),
        eval_perplexity=_digits(found.get("eval_perplexity")),
        loss_curve=drawn([curve[part] for part in sorted(curve)]),
        learning_rate=_digits(found.get("learning_rate")),
        gradient_norm=_digits(found.get("gradient_norm")),
        tokens_per_second=whole(found.get("tokens_per_second")),
        gpu_percent=_percent(found.get("gpu_busy"), 1),
        gpu_memory_percent=_percent(found.get("gpu_memory_used_bytes"), found.get("gpu_memory_bytes")),
        warnings=list(warnings.values()),
    )


def _warning(labels: Mapping[str, str]) -> TrainingWarning:
    reason = re.sub(r"[^A-Za-z0-9]", "", labels.get("reason", ""))[:64]
    message = " ".join("".join(character for character in labels.get("message", "") if character.isprintable()).split())
    return TrainingWarning(reason=reason or "Unnamed", message=message[:512])


def drawn(values: Sequence[float]) -> str | None:
    """A bar for each value, from the smallest to the largest of them; None when there are not two that can be compared."""
    known = [value for value in values if math.isfinite(value) and abs(value) <= _MOST]
    if len(known) < 2:
        return None
    low, span = min(known), max(known) - min(known)
    return "".join(_BARS[round((len(_BARS) - 1) * (value - low) / span) if span else 0] for value in known)


def whole(value: float | None) -> int | None:
    """What can be counted; None for what cannot."""
    return int(value) if value is not None and math.isfinite(value) and 0 <= value <= _MOST else None


def _shown(value: float | None) -> str | None:
    return f"{value:.3f}" if value and math.isfinite(value) and abs(value) <= _MOST else None


def _digits(value: float | None) -> str | None:
    """Three digits, which is what a learning rate of 0.00002 or a perplexity of 1,234 needs."""
    return f"{value:.3g}" if value is not None and math.isfinite(value) and abs(value) <= _MOST else None


def _percent(part: float | None, of: float | None) -> int | None:
    share = part / of if part is not None and of else math.nan
    return round(100 * share) if 0 <= share <= 1 else None
