"""One look at the policies and waivers: little is read, and what cannot be understood is passed on with its reason."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from serin_operator.api import kinds
from serin_operator.api.kinds import Kind
from serin_operator.decide.platform.snapshot import PlatformSnapshot
from serin_operator.observe.platform import observe_platform
from support.jobs import NOON, policy, waiver

Json = dict[str, Any]
Items = list[Json]
SANE = {"name": "sane", "metric": "RougeL", "min": "0.3"}


def a_policy(**spec: Any) -> Json:
    return {"metadata": policy().metadata.manifest(), "spec": {"requirements": [SANE], **spec}}


def a_waiver(**spec: Any) -> Json:
    return waiver(**spec).model_dump(mode="json", by_alias=True, exclude_none=True)


def a_job(name: str, waived_by: str = "") -> Json:
    gate = {"waivers": [{"uid": waived_by, "requirements": ["sane"]}]} if waived_by else {}
    conditions = [{"type": "GatePassed", "status": "True", "lastTransitionTime": "2026-01-01T11:00:00Z"}]
    return {
        "metadata": {"name": name, "namespace": "ml", "labels": {"tier": "gold"}},
        "status": {"gate": gate, "conditions": conditions, "revision": f"{name}-abc"},
    }


class Store:
    """Answers as the apiserver would, and notes what is read in full."""

    def __init__(self, **found: list[Json]) -> None:
        self.found = found
        self.listed: list[tuple[str, str | None]] = []

    async def list(self, kind: Kind, namespace: str | None, selector: str = "") -> list[Json]:
        self.listed.append((kind.plural, namespace))
        items = self.found.get(kind.plural, [])
        return [item for item in items if namespace in (None, item["metadata"].get("namespace"))]

    async def metadata(self, kind: Kind, selector: str) -> AsyncIterator[tuple[Items, str]]:
        for item in self.found.get(kind.plural, []):
            yield [item["metadata"]], "1"


def seen(store: Store) -> PlatformSnapshot | None:
    return asyncio.run(observe_platform(store, NOON))  # type: ignore[arg-type]


def test_without_policies_and_waivers_nothing_else_is_read() -> None:
    store = Store(finetunejobs=[a_job("bot")])
    assert seen(store) is None
    assert store.listed == [("clusterevalpolicies", None), ("evalwaivers", None)]


def test_jobs_are_read_in_full_in_the_namespaces_of_waivers_only() -> None:
    store = Store(clusterevalpolicies=[a_policy()], evalwaivers=[a_waiver(), a_waiver(namespaces=["ml", "web"])])
    seen(store)
    assert [where for where in store.listed if where[0] == kinds.FINE_TUNE_JOB.plural] == [
        ("finetunejobs", "ml"),
        ("finetunejobs", "web"),
    ]


def test_what_is_selected_is_seen_and_what_is_on_its_way_out_is_not() -> None:
    leaving = {"metadata": {"name": "x", "namespace": "ml", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    found = seen(
        Store(
            clusterevalpolicies=[a_policy()],
            namespaces=[{"metadata": {"name": "ml", "labels": {"team": "a"}}}, {"metadata": {"name": "web"}}],
            finetunejobs=[a_job("bot"), leaving],
            modelservices=[{"metadata": {"name": "bot", "namespace": "web"}}, leaving],
        )
    )
    assert found is not None
    assert found.namespaces == {"ml": {"team": "a"}, "web": {}}
    assert [(job.namespace, job.labels) for job in found.jobs] == [("ml", {"tier": "gold"})]
    assert found.services == ("web",)


def test_a_waiver_is_seen_with_the_jobs_that_lean_on_it() -> None:
    jobs = [a_job("bot", "uid-german"), a_job("other", "uid-else"), a_job("plain")]
    found = seen(Store(evalwaivers=[a_waiver()], finetunejobs=jobs))
    assert found is not None
    (use,) = found.waivers[0].uses
    assert (use.namespace, use.job, use.revision, use.requirements) == ("ml", "bot", "bot-abc", ["sane"])
    assert use.since is not None
    assert use.since.hour == 11


def test_what_this_version_does_not_know_is_named_with_its_field() -> None:
    found = seen(
        Store(clusterevalpolicies=[a_policy(limits={"maxTokens": 5})], evalwaivers=[{"metadata": {"name": "w"}}])
    )
    assert found is not None
    assert found.policies[0].policy is None
    assert found.policies[0].problem == "spec.limits.maxTokens: Extra inputs are not permitted"
    assert (found.waivers[0].waiver, found.waivers[0].problem) == (None, "it has no spec")


def test_a_status_of_another_version_makes_nothing_unreadable_and_is_written_anew() -> None:
    odd = {"status": {"conditions": "many", "lastUses": 7}}
    found = seen(Store(clusterevalpolicies=[a_policy() | odd], evalwaivers=[a_waiver() | odd]))
    assert found is not None
    assert found.policies[0].policy is not None
    assert found.waivers[0].waiver is not None
    assert found.policies[0].status.conditions == found.waivers[0].status.conditions == []
