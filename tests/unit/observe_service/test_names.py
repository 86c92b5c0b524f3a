"""Whether the name beside a command is proven: asked once for each command that has one."""

import asyncio
from typing import Any

import pytest
from serin_operator.api import kinds
from serin_operator.api.kinds import Kind
from serin_operator.observe.service import names_held
from support.service_world import SETTINGS

Json = dict[str, Any]
NAME = SETTINGS.approval_policy
META = {"name": NAME, "uid": "u", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
THERE: dict[Kind, Json] = {
    kinds.ADMISSION_POLICY: {"metadata": META, "spec": {"failurePolicy": "Fail"}},
    kinds.ADMISSION_BINDING: {"metadata": META, "spec": {"policyName": NAME, "validationActions": ["Deny"]}},
}


class Store:
    """Answers as the apiserver would, and counts."""

    def __init__(self, found: dict[Kind, Json]) -> None:
        self.found, self.asked = found, 0

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Json | None:
        self.asked += 1
        return self.found.get(kind)


def a_service(command: str | None, by: str | None, *known: str) -> Json:
    said = {"serin.dev/command": command, "serin.dev/command-by": by}
    annotations = {key: value for key, value in said.items() if value is not None}
    return {"metadata": {"annotations": annotations}, "status": {"commands": [{"request": one} for one in known]}}


def held(store: Store, service: Json) -> bool:
    return asyncio.run(names_held(store, SETTINGS, service))  # type: ignore[arg-type]


def test_a_new_command_is_proven_where_the_admission_policy_refuses() -> None:
    assert held(Store(THERE), a_service("pause/1", "alice"))
    assert not held(Store({}), a_service("pause/1", "alice"))


@pytest.mark.parametrize(
    "service",
    [
        pytest.param(a_service("pause/1", None), id="nobody is named"),
        pytest.param(a_service("pause/1", "alice", "pause/1"), id="it is written down already"),
        pytest.param({"metadata": {}}, id="nothing was said"),
    ],
)
def test_nothing_is_asked_where_nothing_is_to_be_written_down(service: Json) -> None:
    store = Store({})
    assert held(store, service)
    assert store.asked == 0
