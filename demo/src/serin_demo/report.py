"""What the stories came to: the table for people, and `build/demo.json` for programs. Pure: records in, text out."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from serin_demo import plan
from serin_demo.shares import Share, failures
from serin_demo.stories import Record
from serin_demo.weights import Weight

WIDTH = 100


def as_json(records: Sequence[Record]) -> str:
    """The document of `build/demo.json`."""
    return json.dumps({"stories": [story_document(record) for record in records]}, indent=2) + "\n"


def story_document(record: Record) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": record.story.name,
        "outcome": record.outcome,
        "stages": [{"name": name, "seconds": seconds} for name, seconds in stages_of(record)],
        "scores": scores_of(record),
        "weights": [{"at": moment(weight.at), "percent": weight.percent} for weight in record.weights],
        "clientRequests": len(record.requests),
        "clientFailures": len(failures(record.requests)),
    }
    if record.seconds_to_weight_zero is not None:
        document["secondsToWeightZero"] = record.seconds_to_weight_zero
    return document


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stages_of(record: Record) -> list[tuple[str, float]]:
    """Seconds of each stage as the job's status has them, and of the canary as the route had it."""
    found: list[tuple[str, float]] = []
    for stage in record.job.get("status", {}).get("stages", []):
        if stage.get("startedAt") and stage.get("finishedAt"):
            seconds = (_parsed(stage["finishedAt"]) - _parsed(stage["startedAt"])).total_seconds()
            found.append((stage["name"], round(seconds, 1)))
    if canary := canary_seconds(record):
        found.append(("Canary", canary))
    return found


def canary_seconds(record: Record) -> float | None:
    """From the first request's worth of weight to the decision."""
    began = next((weight.at for weight in record.weights if weight.percent), None)
    rollout = record.revision.get("status", {}).get("rollout", {})
    decided = rollout.get("promotedAt") or rollout.get("rejection", {}).get("at")
    if began is None or decided is None:
        return None
    return max(0.0, round(_parsed(decided).timestamp() - began, 1))


def scores_of(record: Record) -> dict[str, Any]:
    """The scores and comparisons that the evaluator measured, and how training went, by name."""
    outputs = {stage["name"]: stage.get("output", {}) for stage in record.job.get("status", {}).get("stages", [])}
    found: dict[str, Any] = {}
    for score in outputs.get("Evaluate", {}).get("scores", []):
        name = f"{score['suite']}/{score['metric']}"
        found.setdefault(name, {})[score["role"].lower()] = _only(score, "value", "n", "low", "high")
    for one in outputs.get("Evaluate", {}).get("comparisons", []):
        name = f"{one['suite']}/{one['metric']}"
        found.setdefault(name, {})[f"against{one['against']}"] = _only(one, "difference", "low", "high", "n")
    training = _only(outputs.get("Train", {}), "trainLossFirst", "trainLossLast", "evalLoss", "worldSize", "zeroStage")
    return found | ({"training": training} if training else {})


def _only(source: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: source[name] for name in names if name in source}


def _parsed(text: str) -> datetime:
    return datetime.fromisoformat(text)


# --- the table ----------------------------------------------------------------------------------------------------


def table(records: Sequence[Record]) -> str:
    """All stories, 100 columns wide at most."""
    line = "─" * WIDTH
    blocks = [block for record in records for block in (line, *story_lines(record))]
    return "\n".join([*blocks, line])


def story_lines(record: Record) -> list[str]:
    """One story: a heading, then one labelled line for each thing worth knowing."""
    rows = [
        ("stages", "  ".join(f"{name} {seconds:.0f} s" for name, seconds in stages_of(record))),
        ("training", training_line(record)),
        ("verdict", verdict_line(record)),
        ("weights", weights_line(record.weights, record.began)),
        ("clients", clients_line(record)),
        ("shares", shares_line(record.shares)),
        ("rollback", rollback_line(record)),
    ]
    heading = f"{record.story.title}  ({record.story.file})"
    lines = [f"{heading:<{WIDTH - 12}}{record.outcome:>12}"]
    for label, text in rows:
        if text:
            lines += labelled(label, text)
    return lines


def labelled(label: str, text: str) -> list[str]:
    """Text broken at spaces, beside its label."""
    room, parts = WIDTH - 12, [""]
    for word in text.split(" "):
        if parts[-1] and len(parts[-1]) + 1 + len(word) > room:
            parts.append("")
        parts[-1] = f"{parts[-1]} {word}" if parts[-1] else word
    return [f"  {label if number == 0 else '':<10}{part}".rstrip() for number, part in enumerate(parts)]


def training_line(record: Record) -> str:
    training = scores_of(record).get("training", {})
    if "trainLossLast" not in training:
        return ""
    return (
        f"loss {training.get('trainLossFirst', 0):.2f} -> {training['trainLossLast']:.2f},"
        f" {training.get('worldSize', '?')} processes, ZeRO {training.get('zeroStage', '?')}"
    )


def verdict_line(record: Record) -> str:
    """What was decided and with which numbers, in the operator's own words."""
    status = record.job.get("status", {})
    rejection = record.revision.get("status", {}).get("rollout", {}).get("rejection") or {}
    gate = status.get("gate", {})
    said = f"gate {gate['verdict']}: {gate.get('message', '')}" if gate else ""
    return f"{said} | traffic: {rejection['message']}" if rejection else said


def weights_line(weights: Iterable[Weight], began: float) -> str:
    return "  ".join(f"{weight.percent} % at {max(0.0, weight.at - began):.0f} s" for weight in weights)


def clients_line(record: Record) -> str:
    if not record.requests:
        return ""
    served = {one["revision"] for one in record.requests if one["revision"]}
    return (
        f"{len(record.requests)} requests, {len(failures(record.requests))} failed;"
        f" answered by {', '.join(sorted(served))}"
    )


def shares_line(shares: Sequence[Share]) -> str:
    return "  ".join(
        f"{share.percent} %: {share.candidate} of {share.requests}" + ("" if share.matches else " (does not match!)")
        for share in shares
        if share.percent or not share.matches
    )


def rollback_line(record: Record) -> str:
    if record.breach is None or record.seconds_to_weight_zero is None:
        return ""
    return (
        f"{record.breach.slo} was first out of bounds in Prometheus with {record.breach.value:.4g};"
        f" the candidate had no traffic {record.seconds_to_weight_zero:.1f} s later"
    )


def closing(context: str) -> str:
    """What to look at next."""
    return "\n".join(
        [
            "The cluster stays up. To look around:",
            f"  {context}",
            f"  kubectl -n {plan.NAMESPACE} get ftj,msvc,mrev                    what each model came to",
            f"  kubectl -n {plan.NAMESPACE} describe ftj bad-data                why it was rejected, in a sentence",
            f"  kubectl -n {plan.NAMESPACE} describe mrev                        lineage, verdicts, rejection",
            f"  kubectl -n {plan.NAMESPACE} get httproute {plan.SERVICE} -o yaml       who gets the traffic",
            f"  kubectl -n {plan.SYSTEM_NAMESPACE} logs deploy/serin             what the operator did",
            "  make cluster-down                                       takes everything away again",
        ]
    )
