"""How far the running evaluation is, from what its pods say now and said before. Pure."""

from collections.abc import Iterable

from serin_operator.api.v1alpha1 import EvaluationProgress, PodProgress, StageName, StageOutcome
from serin_operator.decide.job.outlook import Outlook
from serin_operator.decide.job.snapshot import JobSnapshot, Measurer


def evaluation_progress(s: JobSnapshot, o: Outlook) -> EvaluationProgress | None:
    """While Evaluate runs: its pods together. What was told of another key or attempt is none of this one's."""
    found = o.of(StageName.EVALUATE)
    if found is None or found.entry.outcome is not StageOutcome.RUNNING:
        return None
    same = any(
        (entry.name, entry.key, entry.attempt) == (StageName.EVALUATE, found.entry.key, found.entry.attempt)
        for entry in s.job.status.stages
    )
    before = s.job.status.evaluation
    known = {pod.index: pod for pod in before.pods} if same and before is not None else {}
    return together(_now(one, known.get(one.index)) for one in s.measuring)


def _now(one: Measurer, before: PodProgress | None) -> PodProgress | None:
    """A pod that ended well did all; one that does not answer is where it was."""
    if one.done and before is not None:
        return PodProgress(index=one.index, done=before.total, total=before.total, eta_seconds=0)
    return one.progress or before


def together(told: Iterable[PodProgress | None]) -> EvaluationProgress | None:
    """The sum of what is done; it lasts as long as the slowest."""
    pods = [pod for pod in told if pod is not None]
    if not pods:
        return None
    done, total = sum(pod.done for pod in pods), sum(pod.total for pod in pods)
    etas = [pod.eta_seconds for pod in pods]
    return EvaluationProgress(
        done=done,
        total=total,
        percent=100 * done // total,
        eta_seconds=None if None in etas else max((eta for eta in etas if eta is not None), default=None),
        pods=pods,
    )


def told(progress: EvaluationProgress | None) -> str:
    """For the sentence in status."""
    if progress is None:
        return ""
    pods = f" in {len(progress.pods)} pods" if len(progress.pods) > 1 else ""
    left = f", about {progress.eta_seconds} s left" if progress.eta_seconds else ""
    return f"{progress.done:,} of {progress.total:,} examples are measured{pods}{left}"
