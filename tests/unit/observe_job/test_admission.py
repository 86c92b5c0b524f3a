"""Whether people are held to their own names: read of the chart's admission policy, and doubted where it is not as it was made."""

import asyncio
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
from serin_operator.api import kinds
from serin_operator.api.kinds import Kind
from serin_operator.decide.job.approvals import Admission
from serin_operator.errors import Refused
from serin_operator.observe.admission import admission_of

NAME = "serin-approvals"
Json = dict[str, Any]


def meta(uid: str, day: int) -> Json:
    return {"name": NAME, "uid": uid, "generation": 2, "creationTimestamp": f"2026-01-0{day}T00:00:00Z"}


POLICY: Json = {"metadata": meta("p", 1), "spec": {"failurePolicy": "Fail"}}
BINDING: Json = {"metadata": meta("b", 2), "spec": {"policyName": NAME, "validationActions": ["Deny"]}}


class Store:
    """Answers as the apiserver would."""

    def __init__(self, found: dict[Kind, Json], refusal: Refused | None = None) -> None:
        self.found, self.refusal = found, refusal

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Json | None:
        if self.refusal is not None:
            raise self.refusal
        assert (namespace, name) == (None, NAME)
        return self.found.get(kind)


def seen(policy: Json | None = POLICY, binding: Json | None = BINDING, name: str = NAME) -> Admission:
    both = {kinds.ADMISSION_POLICY: policy, kinds.ADMISSION_BINDING: binding}
    store = Store({kind: one for kind, one in both.items() if one is not None})
    return asyncio.run(admission_of(store, name))  # type: ignore[arg-type]


def test_policy_and_binding_are_known_by_uid_and_generation_and_the_younger_ones_age() -> None:
    assert seen() == Admission(identity="p/2 b/2", since=datetime(2026, 1, 2, tzinfo=UTC))


@pytest.mark.parametrize("which", ["policy", "binding"])
def test_one_that_was_made_anew_or_edited_is_another(which: str) -> None:
    for change in ({"uid": "x"}, {"generation": 3}):
        found = deepcopy({"policy": POLICY, "binding": BINDING})
        found[which]["metadata"] |= change
        assert seen(**found).identity not in ("", "p/2 b/2")


@pytest.mark.parametrize(
    ("look", "why"),
    [
        pytest.param(lambda: seen(name=""), "switched off (admission.enabled)", id="switched off"),
        pytest.param(lambda: seen(policy=None), "no ValidatingAdmissionPolicy serin-approvals", id="no policy"),
        pytest.param(lambda: seen(binding=None), "no ValidatingAdmissionPolicyBinding serin", id="no binding"),
        pytest.param(
            lambda: seen(policy={**POLICY, "metadata": {**POLICY["metadata"], "deletionTimestamp": "x"}}),
            "there is no ValidatingAdmissionPolicy", id="on its way out",
        ),
        pytest.param(lambda: seen(policy={**POLICY, "spec": {"failurePolicy": "Ignore"}}), "not bound", id="ignores"),
        pytest.param(
            lambda: seen(binding={**BINDING, "spec": {**BINDING["spec"], "validationActions": ["Audit"]}}),
            "not bound so that it refuses everywhere", id="only audits",
        ),
        pytest.param(
            lambda: seen(binding={**BINDING, "spec": {**BINDING["spec"], "policyName": "other"}}), "not bound", id="another's",
        ),
        pytest.param(
            lambda: seen(binding={**BINDING, "spec": {**BINDING["spec"], "matchResources": {"namespaceSelector": {}}}}),
            "not bound", id="some namespaces only",
        ),
    ],
)  # fmt: skip
def test_what_is_not_there_or_does_not_refuse_proves_nobody(look: Callable[[], Admission], why: str) -> None:
    found = look()
    assert why in found.problem
    assert (found.identity, found.since) == ("", None)


def test_a_refused_read_is_an_answer_and_proves_nobody() -> None:
    found = asyncio.run(admission_of(Store({}, Refused("no", 403)), NAME))  # type: ignore[arg-type]
    assert "may not read the ValidatingAdmissionPolicy serin-approvals" in found.problem
