"""ModelRevision: one candidate, its lineage and its fate. Written by the operator only."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from serin_operator.api.base import ApiModel, MadeUri, ModelUri, Name, Word, rule, rules
from serin_operator.api.v1alpha1.shared import LocalRef, ObjectMeta, Text
from serin_operator.api.v1alpha1.verdicts import AskedApprovals, PolicyRef, Verdict, Waivers


class JobRef(ApiModel):
    """The job that made a revision; it may be gone."""

    name: Name
    uid: Word


class ModelBase(ApiModel):
    """The base model that a kept adapter is served with."""

    uri: MadeUri
    digest: Word


class ModelArtifact(ApiModel):
    """Where the model lies and what it is: the digest of its manifest. That of an adapter covers its base's digest.
    `sizeBytes` is that of its files, without a base's."""

    uri: MadeUri
    digest: Word
    size_bytes: Annotated[int, Field(ge=0)] | None = None
    base: ModelBase | None = None


class Lineage(ApiModel):
    """What went into the model."""

    base_model_uri: ModelUri
    base_model_digest: Word
    data_digest: Word
    prepare_key: Word
    train_key: Word
    model_key: Word


class ModelRevisionSpec(ApiModel):
    """One candidate, immutable; it outlives its job."""

    model_config = rules(rule("self == oldSelf", "a ModelRevision is a record and cannot be changed"))

    model_service_ref: LocalRef
    job_ref: JobRef
    artifact: ModelArtifact
    lineage: Lineage


Counts = Annotated[list[int], Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"})]


class Reference(ApiModel):
    """What the evaluation set and the answers to it look like: examples by length and answers by kind, both by language, in the
    server's buckets. Drift is told by it."""

    prompt_characters: Counts
    answer_characters: Counts
    answer_kinds: Counts
    prompt_languages: Counts = []
    answer_languages: Counts = []


class GateRecord(ApiModel):
    """How the gates and policies judged this revision. It gets no traffic while other policies hold than these."""

    verdict: Verdict
    message: Text
    judged_at: datetime
    policies: Annotated[list[PolicyRef], Field(max_length=256)] = []
    approvals: AskedApprovals = []
    waivers: Waivers = []
    reference: Reference | None = None


class Rejection(ApiModel):
    """Why this digest may not serve. It stays until the digest changes, or a person says retry."""

    reason: str
    message: Text
    at: datetime
    step: int
    weight_percent: int
    breach_observed_at: datetime | None = None
    weight_zero_at: datetime | None = None
    request: str | None = None  # the command that said so, when it was a person


class Retry(ApiModel):
    """A person let this revision be tried again. `withdrew` is the rejection that this took back."""

    request: str
    asked_by: str | None = None
    at: datetime
    withdrew: Text = ""


class RolloutRecord(ApiModel):
    """What became of this revision under traffic. Written before the weight moves."""

    promoted_at: datetime | None = None
    rejection: Rejection | None = None
    superseded_at: datetime | None = None
    retry: Retry | None = None


class ModelRevisionStatus(ApiModel):
    gate: GateRecord | None = None
    rollout: RolloutRecord | None = None


class ModelRevision(ApiModel):
    """The record of one candidate model."""

    metadata: ObjectMeta
    spec: ModelRevisionSpec
    status: ModelRevisionStatus = ModelRevisionStatus()
