"""The ModelRevision: the record of one candidate, which outlives its job."""

from typing import Any

from serin_operator.api.contract import PrepareOutput
from serin_operator.api.v1alpha1 import (
    API_VERSION,
    FineTuneJob,
    JobRef,
    Lineage,
    LocalRef,
    ModelArtifact,
    ModelRevision,
    ModelRevisionSpec,
)
from serin_operator.decide.job.plans import Candidate
from serin_operator.decide.keys import model_key
from serin_operator.manifests import names


def revision_manifest(
    job: FineTuneJob, service: str, candidate: Candidate, prepared: PrepareOutput, prepare_key: str, trained: str
) -> dict[str, Any]:
    """Named by service and digest: the same model for the same service is the same revision."""
    spec = ModelRevisionSpec(
        model_service_ref=LocalRef(name=service),
        job_ref=JobRef(name=job.metadata.name, uid=job.metadata.uid),
        artifact=ModelArtifact(
            uri=candidate.uri, digest=candidate.digest, size_bytes=candidate.size_bytes, base=candidate.base
        ),
        lineage=Lineage(
            base_model_uri=job.spec.base_model.uri,
            base_model_digest=prepared.base_model_digest,
            data_digest=prepared.data_digest,
            prepare_key=prepare_key,
            train_key=trained,
            model_key=model_key(trained, job.spec.method),
        ),
    )
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelRevision",
        "metadata": {
            "name": names.revision(service, candidate.digest),
            "namespace": job.metadata.namespace,
            "labels": {
                names.MANAGED_BY: names.MANAGER,
                names.SERVICE: service,
                names.JOB: job.metadata.name,
                names.TRAIN_KEY: trained,
                names.MODEL_KEY: model_key(trained, job.spec.method),
            },
        },
        "spec": spec.manifest(),
    }


def made_before(revisions: tuple[ModelRevision, ...], model: str) -> ModelRevision | None:
    """The revision that an earlier job made from the very same training in the same way, if there is one."""
    found = [r for r in revisions if r.spec.lineage.model_key == model]
    return min(found, key=lambda r: r.metadata.name, default=None)


def of_digest(revisions: tuple[ModelRevision, ...], digest: str) -> ModelRevision | None:
    return next((r for r in revisions if r.spec.artifact.digest == digest), None)


def named(revisions: tuple[ModelRevision, ...], name: str) -> ModelRevision | None:
    return next((r for r in revisions if r.metadata.name == name), None)
