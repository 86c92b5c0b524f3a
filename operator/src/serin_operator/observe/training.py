"""Progress of a running training, asked of rank 0's own metrics. Best effort: no answer, no progress."""

from prometheus_client.parser import text_string_to_metric_families

from serin_operator.api.v1alpha1 import Progress
from serin_operator.http import httpx
from serin_operator.manifests.stage_job import METRICS_PORT

TIMEOUT_SECONDS = 1.0
_PREFIX = "serin_train_"


async def progress(client: httpx.AsyncClient, address: str) -> Progress | None:
    """What the pod at this IP says of itself; None when it does not answer (it may be starting, or be unreachable)."""
    try:
        answer = await client.get(f"http://{address}:{METRICS_PORT}/metrics", timeout=TIMEOUT_SECONDS)
        answer.raise_for_status()
    except httpx.HTTPError:
        return None
    return parse(answer.text)


def parse(text: str) -> Progress | None:
    """Progress from the Prometheus exposition text."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith(_PREFIX):
                found[sample.name.removeprefix(_PREFIX)] = sample.value
    total = int(found.get("total_steps", 0))
    if total <= 0:
        return None
    step = int(found.get("step", 0))
    return Progress(
        step=step,
        total_steps=total,
        percent=min(100, 100 * step // total),
        eta_seconds=_whole(found.get("eta_seconds")),
        train_loss=_text(found.get("loss")),
        eval_loss=_text(found.get("eval_loss")),
        tokens_per_second=_whole(found.get("tokens_per_second")),
    )


def _whole(value: float | None) -> int | None:
    return int(value) if value is not None and value == value and abs(value) != float("inf") else None


def _text(value: float | None) -> str | None:
    return f"{value:.3f}" if value is not None and value == value and value != 0 else None
