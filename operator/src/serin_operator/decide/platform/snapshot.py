"""What one look at the platform's objects sees: all policies and waivers, and as much of the rest as they select."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from serin_operator.api.v1alpha1 import (
    ClusterEvalPolicy,
    ClusterEvalPolicyStatus,
    EvalWaiver,
    EvalWaiverStatus,
    ObjectMeta,
    WaiverUse,
)


@dataclass(frozen=True, slots=True)
class PolicyView:
    """A policy as it was read; None when this version of Serin does not understand it, with what."""

    meta: ObjectMeta
    policy: ClusterEvalPolicy | None
    problem: str
    status: ClusterEvalPolicyStatus


@dataclass(frozen=True, slots=True)
class WaiverView:
    """A waiver as it was read, likewise, and the jobs whose verdict leans on it now."""

    meta: ObjectMeta
    waiver: EvalWaiver | None
    problem: str
    status: EvalWaiverStatus
    uses: tuple[WaiverUse, ...] = ()


@dataclass(frozen=True, slots=True)
class Labelled:
    """A FineTuneJob, as far as policies select by it."""

    namespace: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PlatformSnapshot:
    now: datetime
    policies: tuple[PolicyView, ...]
    waivers: tuple[WaiverView, ...]
    namespaces: Mapping[str, Mapping[str, str]]  # labels by name
    jobs: tuple[Labelled, ...] = ()
    services: tuple[str, ...] = ()  # the namespace of each
