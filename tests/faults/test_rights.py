"""The rights that the chart grants are the rights that are used: no more, no less (R24).

The operator runs as its ServiceAccount under the chart's roles, through stories that use everything it can do; RBAC and
the audit log are the apiserver's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from faults.harness import report
from faults.harness.actors import Actors
from faults.harness.flows import FLOWS, GOOD, A, Flow, claims, gate, job, serves, service
from faults.harness.plane import OPERATOR, RIGHTS, Plane
from faults.harness.world import World, passed_revision
from serin_operator.api.kinds import (
    CLUSTER_EVAL_POLICY,
    CONFIG_MAP,
    EVAL_WAIVER,
    FINE_TUNE_JOB,
    MODEL_REVISION,
    SERVICE,
    Kind,
)
from serin_operator.manifests import names
from support.objects import MINIMAL

Json = dict[str, Any]
ROOT = Path(__file__).parents[2]
RBAC = "/apis/rbac.authorization.k8s.io/v1"
STORIES = ("create-to-promoted", "spec-edit-mid-run", "promotion", "rollback-in-step")


@dataclass(frozen=True, order=True)
class Right:
    """`resource` with its group and subresource, as a rule of a role names it."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


def deployed() -> list[Json]:
    return [one for one in yaml.safe_load_all((ROOT / "deploy/serin.yaml").read_text()) if one]


def roles() -> list[Json]:
    """The operator's own, not those that widen view, edit and admin."""
    return [one for one in deployed() if one["kind"] in ("Role", "ClusterRole") and one["metadata"]["name"] == "serin"]


def granted() -> set[Right]:
    return {
        Right(group, resource, verb)
        for role in roles()
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(events: list[Json]) -> set[Right]:
    """What was asked for and allowed. A patch that made a new object needs the right to create it as well."""
    found: set[Right] = set()
    for event in events:
        ref = event["objectRef"]
        resource = "/".join(part for part in (ref["resource"], ref.get("subresource", "")) if part)
        found.add(Right(ref.get("apiGroup", ""), resource, event["verb"]))
        if event["verb"] == "patch" and event["responseStatus"]["code"] == 201:
            found.add(Right(ref.get("apiGroup", ""), resource, "create"))
    return found


@pytest.fixture
def as_its_service_account(plane: Plane) -> Iterator[None]:
    """Operators of this test have the chart's rights and nothing else."""
    with plane.api() as api:
        for one in deployed():
            if one["kind"] in ("ClusterRole", "ClusterRoleBinding") and one["metadata"]["name"] == "serin":
                api.create(f"{RBAC}/{one['kind'].lower()}s", one)
    before = plane.users[OPERATOR]
    plane.users[OPERATOR] = plane.server.authority.issue("rights", f"/O=system:serviceaccounts/CN={RIGHTS}")
    yield
    plane.users[OPERATOR] = before


def may_lead(w: World) -> None:
    """The Role for the Lease lies in the operator's own namespace, which is the story's here."""
    for one in deployed():
        if one["kind"] in ("Role", "RoleBinding") and one["metadata"]["name"] == "serin":
            w.api.create(
                f"{RBAC}/namespaces/{w.namespace}/{one['kind'].lower()}s",
                one | {"metadata": {"name": "serin"}},
            )


def told(plane: Plane, actors: Actors, flow: Flow) -> list[Json]:
    """The audit events of one story, told to its end."""
    with World(plane, actors, **flow.settings) as w:
        may_lead(w)
        w.api.create(CLUSTER_EVAL_POLICY.path(None), policy(w))
        w.api.create(EVAL_WAIVER.path(None), waiver(w))
        flow.run(w)
        w.until(lambda: flow.final(w), f"the end of the story\n{w.timeline()}")
        w.until(
            lambda: is_ready(w, CLUSTER_EVAL_POLICY) and is_ready(w, EVAL_WAIVER), "the policy's and waiver's status"
        )
        w.operator.stop()
        w.api.delete(CLUSTER_EVAL_POLICY.path(None, w.namespace))
        w.api.delete(EVAL_WAIVER.path(None, w.namespace))
        refused = [
            str(call) for call in w.proxy.journal if call.status == 403 and call.resource != "leases"
        ]  # those it may take a moment later
        assert not refused, "\n".join(refused)
        everywhere = [*plane.audit.of(""), *plane.audit.of("infra")]  # what has no namespace, and the Gateway's
        return [event for event in [*plane.audit.settled(w.namespace, w.api), *everywhere] if _by_operator(event)]


def asks_a_person(w: World) -> None:
    """A job by a recipe, whose gate wants somebody's approval."""
    recipe = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "recipe"},
              "data": {"config.yaml": "adapter: lora\nlora_r: 8\nlora_alpha: 16\n"}}  # fmt: skip
    asking = gate()
    asking["spec"]["approvals"] = [{"name": "owner", "groups": ["ml-leads"]}]
    written = {"format": "Axolotl", "configMapRef": {"name": "recipe"}}
    w.begin()
    w.api.create(CONFIG_MAP.path(w.namespace), recipe)
    w.apply(*claims(), asking, job(configFrom=written, rollout=None))


def waits_for_a_person(w: World) -> bool:
    conditions = w.status(FINE_TUNE_JOB, "bot").get("conditions", [])
    return any(one["type"] == "Approved" and one["reason"] == "AwaitingApproval" for one in conditions)


def forgets(w: World) -> None:
    """A service that keeps no history, and a model that failed its gates long ago."""
    w.begin()
    served = service()
    w.apply(served | {"spec": served["spec"] | {"revisionHistoryLimit": 0}})
    w.measures(A, GOOD)
    w.apply(passed_revision("a"), passed_revision("c", verdict="Failed"))


def has_forgotten(w: World) -> bool:
    return serves(w, A) and w.names(MODEL_REVISION) == [A]


def has_no_gateway(w: World) -> None:
    w.begin()
    served = service(steps=[{"weightPercent": 100, "holdSeconds": 1}])
    w.apply(served | {"spec": served["spec"] | {"traffic": {"provider": "ReplicaRatio"}}})
    w.measures(A, GOOD)
    w.apply(passed_revision("a"))


def is_behind_its_service(w: World) -> bool:
    selector = w.get(SERVICE, "bot").get("spec", {}).get("selector", {})
    return selector.get(names.REVISION) == A


def policy(w: World) -> Json:
    """It audits only: the stories' models need not pass it."""
    meta = {"name": w.namespace}
    return MINIMAL["ClusterEvalPolicy"] | {
        "metadata": meta,
        "spec": MINIMAL["ClusterEvalPolicy"]["spec"] | {"mode": "Audit"},
    }


def waiver(w: World) -> Json:
    """Of the story's own policy and namespace."""
    (asked,) = policy(w)["spec"]["requirements"]
    lifted: Json = {"policyRef": {"name": w.namespace}, "requirements": [asked["name"]], "namespaces": [w.namespace]}
    lifted["expiresAt"] = "2099-01-01T00:00:00Z"
    plain = MINIMAL["EvalWaiver"]
    return plain | {"metadata": {"name": w.namespace}, "spec": plain["spec"] | lifted}


def is_ready(w: World, kind: Kind) -> bool:
    found = w.api.get(kind.path(None, w.namespace))
    conditions = found["status"]["conditions"] if found else []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _by_operator(event: Json) -> bool:
    return event["user"]["username"] == RIGHTS and "objectRef" in event


def test_the_rights_that_are_granted_are_the_rights_that_are_used(
    plane: Plane, actors: Actors, as_its_service_account: None
) -> None:
    flows = [flow for flow in FLOWS if flow.name in STORIES]
    assert len(flows) == len(STORIES)
    flows.append(Flow("asks-a-person", asks_a_person, waits_for_a_person))
    flows.append(Flow("forgets", forgets, has_forgotten))
    flows.append(Flow("has-no-gateway", has_no_gateway, is_behind_its_service))
    events = [event for flow in flows for event in told(plane, actors, flow)]
    unused, missing = granted() - used(events), used(events) - granted()
    report.record("R24: rights granted and not used, or used and not granted", len(granted()), len(unused | missing))
    print(f"\nR24: {len(granted())} rights granted, {len(used(events))} used")
    assert not {str(right) for right in missing}
    assert not {str(right) for right in unused}


def test_no_right_is_more_than_it_says() -> None:
    for right in granted():
        assert "*" not in (right.group, right.resource, right.verb)
        assert right.resource != "secrets"
        assert right.verb not in ("escalate", "bind", "impersonate", "deletecollection", "approve", "sign")
        assert not right.resource.endswith(
            ("/exec", "/attach", "/portforward", "/proxy", "/token", "/ephemeralcontainers")
        )
