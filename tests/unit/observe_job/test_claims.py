"""Which claims are looked for: all that a pod of the job would mount."""

import asyncio
from typing import Any

import pytest
from serin_operator.api.kinds import Kind
from serin_operator.api.v1alpha1 import EvalGate, FineTuneJob
from serin_operator.observe.job import claims_there
from support.jobs import a_gate, job_manifest, policy

CLASSIFIER = {
    "name": "toxic",
    "metric": "Toxicity",
    "uri": "pvc://classifiers/toxic",
    "digest": "sha256:" + "a" * 64,
    "label": "toxic",
}


class Store:
    """An apiserver with these claims."""

    def __init__(self, *names: str) -> None:
        self.names = names

    async def get(self, kind: Kind, namespace: str | None, name: str) -> dict[str, Any] | None:
        there = (kind.plural, namespace) == ("persistentvolumeclaims", "ml") and name in self.names
        return {"metadata": {"name": name}} if there else None


def a_gate_with_a_classifier() -> EvalGate:
    document = a_gate(min="0.3").manifest()
    suite = document["spec"]["suites"][0]
    suite |= {"metrics": ["RougeL", "Toxicity"], "classifiers": [CLASSIFIER]}
    return EvalGate.model_validate(document)


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (
            ("models", "artifacts", "datasets", "classifiers", "others"),
            {"models", "artifacts", "datasets", "classifiers"},
        ),
        (("models",), {"models"}),
        ((), set[str]()),
    ],
    ids=["all", "one", "none"],
)
def test_of_the_claims_that_are_named_those_are_found_that_exist(there: tuple[str, ...], found: set[str]) -> None:
    """A claim of a classifier that was not looked for would be told as missing, whatever there is."""
    job = FineTuneJob.model_validate(job_manifest())
    gates = {"quality": a_gate_with_a_classifier()}
    assert asyncio.run(claims_there(Store(*there), job, gates, ())) == found  # type: ignore[arg-type]


def test_the_claims_of_a_policys_suites_are_looked_for_where_it_selects_the_job() -> None:
    suite = {"name": "s", "dataset": {"uri": "pvc://hidden/x.jsonl"}, "metrics": ["RougeL"]}
    job = FineTuneJob.model_validate(job_manifest())
    asking = policy(suites=[suite], requirements=[{"name": "q", "metric": "RougeL", "min": "0.3"}])
    others = policy(
        suites=[suite], requirements=[], limits={"minExamples": 20}, jobSelector={"matchLabels": {"a": "b"}}
    )
    store = Store("models", "hidden")
    assert "hidden" in asyncio.run(claims_there(store, job, {}, (asking,)))  # type: ignore[arg-type]
    assert "hidden" not in asyncio.run(claims_there(store, job, {}, (others,)))  # type: ignore[arg-type]
