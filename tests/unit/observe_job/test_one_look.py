"""What is read in one look at a job must be of one story, though the apiserver answers each question in its own time."""

import asyncio
from typing import Any

import pytest
from serin_operator.api import kinds
from serin_operator.api.kinds import Kind
from serin_operator.observe.job import jobs_and_their_pods
from serin_operator.observe.runs import RunPhase, runs

Json = dict[str, Any]
LABELS = {"serin.dev/job": "bot", "serin.dev/stage": "prepare", "serin.dev/attempt": "1", "serin.dev/key": "k"}
RESULT = (
    '{"stage": "Prepare", "key": "k", "outcome": "Succeeded", "reason": "Prepared", "message": "done",'
    ' "retryable": false, "output": {}}'
)


class Cluster:
    """An apiserver that answers some questions late; the pod ends, and then its Job, while they are under way."""

    def __init__(self, late: Kind) -> None:
        self._late, self._over = late, False

    async def list(self, kind: Kind, namespace: str, selector: str) -> list[Json]:
        if kind is self._late:
            await asyncio.sleep(0)  # whoever asks beside this question gets an answer of before
            await asyncio.sleep(0)
            self._over = True
        return [self._job() if kind is kinds.JOB else self._pod()]

    def _job(self) -> Json:
        ended = [{"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"}]
        meta = {"name": "bot-prepare-1", "uid": "j", "resourceVersion": "1", "labels": LABELS,
                "creationTimestamp": "2026-01-01T00:00:00Z"}  # fmt: skip
        return {"metadata": meta, "spec": {"parallelism": 1}, "status": {"conditions": ended if self._over else []}}

    def _pod(self) -> Json:
        state: Json = {"terminated": {"exitCode": 0, "message": RESULT}} if self._over else {"running": {}}
        meta = {
            "name": "bot-prepare-1-x",
            "uid": "p",
            "labels": LABELS,
            "ownerReferences": [{"uid": "j", "controller": True}],
        }
        return {
            "metadata": meta,
            "status": {"phase": "Running", "containerStatuses": [{"name": "prepare", "state": state}]},
        }


@pytest.mark.parametrize("late", [kinds.JOB, kinds.POD], ids=["Jobs", "pods"])
def test_a_job_that_ends_during_a_look_is_seen_with_its_result_or_not_ended_yet(late: Kind) -> None:
    jobs, pods = asyncio.run(jobs_and_their_pods(Cluster(late), "ns", ""))  # type: ignore[arg-type]
    (run,) = runs(jobs, pods, "owner")
    assert run.phase is RunPhase.RUNNING or run.result is not None
