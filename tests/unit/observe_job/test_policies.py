"""Policies as they are read: what cannot be understood, or is on its way out, is told and never left out."""

import asyncio
from typing import Any

import pytest
from prometheus_client import REGISTRY
from serin_operator.api import kinds
from serin_operator.api.kinds import Kind
from serin_operator.decide.policies import Policies
from serin_operator.errors import ClusterUnavailable
from serin_operator.observe.policies import policies_of, sorted_out
from support.jobs import NOON, waiver

SPEC = {"requirements": [{"name": "q", "metric": "RougeL", "min": "0.3"}]}


def item(name: str = "floor", meta: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": "u", "generation": 1, **(meta or {})}, "spec": {**SPEC, **spec}}


def told(found: Policies) -> tuple[list[str], list[str]]:
    return [one.metadata.name for one in found.found], [one.name for one in found.unreadable]


@pytest.mark.parametrize(
    ("policy", "want"),
    [
        pytest.param(item(), (["floor"], []), id="a plain one"),
        pytest.param(item(namespaceSelector={"matchLabels": {"team": "b"}}), ([], []), id="for others"),
        pytest.param(item(limits={"maxTokens": 5}), ([], ["floor"]), id="a limit of a newer version"),
        pytest.param(item(quorum=3), ([], ["floor"]), id="a field of a newer version"),
        pytest.param(item(mode="Dream"), ([], ["floor"]), id="a mode of a newer version"),
        pytest.param({"metadata": {"name": "floor"}}, ([], ["floor"]), id="no spec at all"),
        pytest.param(
            item(meta={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
            ([], ["floor"]),
            id="being deleted and still there",
        ),
        pytest.param(
            item(meta={"deletionTimestamp": "2026-01-01T00:00:00Z"}, namespaceSelector={"matchLabels": {"team": "b"}}),
            ([], []),
            id="being deleted, for others",
        ),
    ],
)
def test_a_policy_is_found_or_told_as_unreadable(policy: dict[str, Any], want: tuple[list[str], list[str]]) -> None:
    assert told(sorted_out([policy], {"team": "a"})) == want


class Store:
    """Answers as the apiserver would."""

    def __init__(
        self,
        policies: list[dict[str, Any]],
        namespace: dict[str, Any] | None,
        waivers: list[dict[str, Any]] | None = None,
    ) -> None:
        self.policies, self.namespace, self.waivers = policies, namespace, waivers or []
        self.asked: list[Kind] = []

    async def list(self, kind: Kind, namespace: str | None, selector: str = "") -> list[dict[str, Any]]:
        self.asked.append(kind)
        return self.waivers if kind is kinds.EVAL_WAIVER else self.policies

    async def get(self, kind: Kind, namespace: str | None, name: str) -> dict[str, Any] | None:
        self.asked.append(kind)
        return self.namespace


def test_a_namespace_that_cannot_be_read_is_no_namespace_without_labels() -> None:
    with pytest.raises(ClusterUnavailable, match="nobody knows which policies select it"):
        asyncio.run(policies_of(Store([item()], None), "ml", NOON))  # type: ignore[arg-type]


def test_without_policies_nothing_else_is_asked_for() -> None:
    store = Store([], None)
    assert asyncio.run(policies_of(store, "ml", NOON)) == Policies()  # type: ignore[arg-type]
    assert store.asked == [kinds.CLUSTER_EVAL_POLICY]


# --- waivers ------------------------------------------------------------------------------------------------------


def a_waiver(name: str = "german", **changes: Any) -> dict[str, Any]:
    found = waiver(name).model_dump(mode="json", by_alias=True, exclude_none=True)
    return {**found, "spec": {**found["spec"], **changes}}


def seen(*waivers: dict[str, Any]) -> Policies:
    store = Store([item()], {"metadata": {"labels": {}}}, list(waivers))
    return asyncio.run(policies_of(store, "ml", NOON))  # type: ignore[arg-type]


def test_the_waivers_of_the_namespace_are_read_also_those_that_are_over() -> None:
    found = seen(a_waiver(), a_waiver("over", expiresAt="2020-01-01T00:00:00Z"), a_waiver("b", namespaces=["other"]))
    assert [one.metadata.name for one in found.waivers] == ["german", "over"]


@pytest.mark.parametrize(
    "broken", [{"onlyFor": ["nobody"]}, {"expiresAt": "soon"}, {"owner": None}], ids=["newer", "no date", "no owner"]
)
def test_a_waiver_that_cannot_be_read_lifts_nothing_and_parks_nobody(broken: dict[str, Any]) -> None:
    found = seen(a_waiver(**broken), a_waiver("other"))
    assert [one.metadata.name for one in found.waivers] == ["other"]
    assert found.unreadable == ()


def test_waivers_are_counted_for_the_whole_cluster_by_whether_they_are_in_force() -> None:
    seen(a_waiver(), a_waiver("b", namespaces=["other"]), a_waiver("over", expiresAt="2020-01-01T00:00:00Z"))
    assert REGISTRY.get_sample_value("serin_waivers", {"state": "InForce"}) == 2
    assert REGISTRY.get_sample_value("serin_waivers", {"state": "Expired"}) == 1
