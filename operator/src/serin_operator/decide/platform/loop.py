"""The decision: a status for each policy and waiver of which there is something new to say, and nothing else."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from serin_operator.api.base import ApiModel
from serin_operator.api.v1alpha1 import API_VERSION, ObjectMeta
from serin_operator.decide.decision import Decision, StatusWrite
from serin_operator.decide.platform.policy import policy_status
from serin_operator.decide.platform.snapshot import PlatformSnapshot
from serin_operator.decide.platform.waiver import waiver_status
from serin_operator.manifests import names

# Jobs come and go without waking this look: what is counted lags by so much at most, and however many jobs change there
# is one write for each policy in that time.
PACE: Final = timedelta(seconds=30)


def decide_platform(s: PlatformSnapshot) -> Decision:
    told: list[tuple[str, ObjectMeta, ApiModel, ApiModel]] = [
        *(("ClusterEvalPolicy", one.meta, one.status, policy_status(s, one)) for one in s.policies),
        *(("EvalWaiver", one.meta, one.status, waiver_status(s, one)) for one in s.waivers),
    ]
    writes = tuple(_write(kind, meta, now) for kind, meta, before, now in told if now.manifest() != before.manifest())
    return Decision(
        sentence=f"{len(s.policies)} policies and {len(s.waivers)} waivers were read, {len(writes)} of them changed",
        statuses=writes,
        requeue_after=min([PACE, *_until(s.now, (v.waiver.spec.expires_at for v in s.waivers if v.waiver))]),
    )


def _write(kind: str, meta: ObjectMeta, status: ApiModel) -> StatusWrite:
    return StatusWrite(
        API_VERSION, kind, "", meta.name, status.manifest(), names.FIELD_MANAGER_STATUS, expect=meta.resource_version
    )


def _until(now: datetime, ends: Iterable[datetime]) -> list[timedelta]:
    """The time until each end that is still to come."""
    return [end - now for end in ends if end > now]
