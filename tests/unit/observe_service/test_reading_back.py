"""The route, its Gateway, Deployments and pods, read back from manifests as the apiserver gives them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import ModelService
from serin_operator.manifests.route import http_route
from serin_operator.observe.pods import PodsView, crashed_at, pods_view, trouble
from serin_operator.observe.service import serving_view
from serin_operator.observe.traffic import gateway_view, route_view
from support.service_world import a_service, revision_name

SERVICE = ModelService.model_validate(a_service())
A, B = revision_name("a"), revision_name("b")


def a_route(generation: int = 3, observed: int = 3, accepted: str = "True", resolved: str = "True") -> dict[str, Any]:
    route = http_route(SERVICE, [(A, 90), (B, 10)])
    route["metadata"] |= {"generation": generation, "resourceVersion": "1"}
    conditions = [
        {
            "type": "Accepted",
            "status": accepted,
            "observedGeneration": observed,
            "reason": "R",
            "message": "not allowed",
        },
        {
            "type": "ResolvedRefs",
            "status": resolved,
            "observedGeneration": observed,
            "reason": "R",
            "message": "no Svc",
        },
    ]
    route["status"] = {"parents": [{"parentRef": {"namespace": "infra", "name": "public"}, "conditions": conditions}]}
    return route


def test_the_route_that_was_written_is_read_back_with_its_weights() -> None:
    found = route_view(a_route(), SERVICE)
    assert found is not None
    assert (found.weight(A), found.weight(B), found.weight("other")) == (90, 10, 0)
    assert found.gateway == ("infra", "public")
    assert found.programmed


@pytest.mark.parametrize(
    ("route", "programmed", "serving", "problem"),
    [
        pytest.param(a_route(), True, True, "", id="in force"),
        pytest.param(a_route(observed=2), False, True, "", id="the generation before is in force"),
        pytest.param(a_route(accepted="False"), False, False, "Accepted is False (R): not allowed", id="refused"),
        pytest.param(a_route(resolved="False"), False, False, "ResolvedRefs is False (R): no Svc", id="no backend"),
        pytest.param({**a_route(), "status": {}}, False, False, "", id="nobody has looked at it"),
    ],
)
def test_a_route_counts_once_its_gateway_has_taken_up_this_very_generation(
    route: dict[str, Any], programmed: bool, serving: bool, problem: str
) -> None:
    found = route_view(route, SERVICE)
    assert found is not None
    assert (found.programmed, found.serving, found.problem) == (programmed, serving, problem)


def test_another_gateways_word_does_not_count() -> None:
    route = a_route()
    route["status"]["parents"][0]["parentRef"]["name"] = "internal"
    found = route_view(route, SERVICE)
    assert found is not None
    assert not found.programmed


def test_a_route_of_somebody_else_is_not_ours() -> None:
    route = a_route()
    route["metadata"]["ownerReferences"] = []
    found = route_view(route, SERVICE)
    assert found is not None
    assert not found.ours
    assert "is not Serin's" in found.problem


def test_no_route_is_no_route() -> None:
    assert route_view(None, SERVICE) is None


def test_a_gateway_is_programmed_or_says_why_not() -> None:
    up = {"status": {"conditions": [{"type": "Programmed", "status": "True"}]}}
    down = {"status": {"conditions": [{"type": "Programmed", "status": "False", "message": "no address"}]}}
    assert gateway_view(None) is None
    assert gateway_view(up).programmed  # type: ignore[union-attr]
    assert gateway_view(down).problem == "no address"  # type: ignore[union-attr]
    assert not gateway_view({}).programmed  # type: ignore[union-attr]


def a_deployment(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"creationTimestamp": "2026-06-01T12:00:00Z", "generation": 2},
        "spec": {"replicas": 2},
        "status": {"observedGeneration": 2, "updatedReplicas": 2, "readyReplicas": 2, **status},
    }


@pytest.mark.parametrize(
    ("deployment", "answers", "complete"),
    [
        pytest.param(a_deployment(), True, True, id="all pods ready"),
        pytest.param(a_deployment(readyReplicas=1), True, False, id="one of two"),
        pytest.param(a_deployment(readyReplicas=0), False, False, id="none"),
        pytest.param(a_deployment(observedGeneration=1), True, False, id="a newer wish not yet seen"),
        pytest.param(a_deployment(updatedReplicas=1), True, False, id="half rolled out"),
        pytest.param({**a_deployment(), "status": {}}, False, False, id="just created"),
    ],
)
def test_how_ready_a_revision_is(deployment: dict[str, Any], answers: bool, complete: bool) -> None:
    view = serving_view("r", deployment, PodsView())
    assert (view.answers, view.complete) == (answers, complete)


def test_a_pod_that_cannot_be_made_says_why() -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "message": 'pods "x" is forbidden: exceeded quota'}
    assert serving_view("r", a_deployment(conditions=[failure]), PodsView()).trouble == failure["message"]


def a_pod(
    container: dict[str, Any] | None = None,
    scheduled: str = "True",
    message: str = "",
    first: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """`first`: its init container."""
    return {
        "metadata": {},
        "status": {
            "conditions": [
                {"type": "Ready", "status": "False"},
                {"type": "PodScheduled", "status": scheduled, "reason": "Unschedulable", "message": message},
            ],
            "containerStatuses": [container] if container is not None else [],
            **({"initContainerStatuses": [first]} if first is not None else {}),
        },
    }


DAMAGED = (
    '{"stage": "Serve", "key": "k", "outcome": "Failed", "reason": "ModelDamaged", "message": "model.safetensors has'
    ' another digest", "advice": "restore it"}'
)


@pytest.mark.parametrize(
    ("pod", "text"),
    [
        pytest.param(
            a_pod(scheduled="False", message='persistentvolumeclaim "artifacts" not found'),
            'Unschedulable: persistentvolumeclaim "artifacts" not found',
            id="a missing claim",
        ),
        pytest.param(
            a_pod({"state": {"waiting": {"reason": "ImagePullBackOff", "message": "back-off"}}}),
            "ImagePullBackOff: back-off",
            id="an image that cannot be had",
        ),
        pytest.param(a_pod({"state": {"waiting": {"reason": "ContainerCreating"}}}), "", id="only starting"),
        pytest.param(
            a_pod({"state": {"terminated": {"exitCode": 65, "message": DAMAGED}}}),
            "model.safetensors has another digest; restore it",
            id="the server's own words",
        ),
        pytest.param(
            a_pod({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {
                "exitCode": 1, "reason": "Error", "message": "Traceback\nValueError: no"}}}),
            "the server ended with exit code 1 (Error): ValueError: no",
            id="a crash loop",
        ),
        pytest.param(
            a_pod({"state": {"waiting": {"reason": "PodInitializing"}}}, first={"state": {"waiting": {"reason":
                "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 65, "message": DAMAGED}}}),
            "model.safetensors has another digest; restore it",
            id="another model than the one that was judged",
        ),
        pytest.param(
            a_pod({"state": {"waiting": {"reason": "ErrImagePull", "message": "no such tag"}}},
                  first={"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}),
            "ErrImagePull: no such tag",
            id="the proof ended well, and the server cannot start",
        ),
    ],
)  # fmt: skip
def test_why_a_pod_is_not_ready(pod: dict[str, Any], text: str) -> None:
    assert trouble(pod) == text


RUNS: dict[str, Any] = {"state": {"running": {"startedAt": "2026-06-01T12:00:00Z"}}}
ENDED: dict[str, Any] = {
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"exitCode": 1}},
}
PROVEN: dict[str, Any] = {"state": {"terminated": {"exitCode": 0}}}
FETCHES: dict[str, Any] = {"name": "fetch", "state": {"running": {"startedAt": "2026-06-01T12:00:00Z"}}}
PULLING: dict[str, Any] = {"state": {"waiting": {"reason": "ImagePullBackOff"}}}


def fetched(exit_code: int) -> dict[str, Any]:
    """The end of who fetches the files, and it is tried again."""
    end = {"exitCode": exit_code, "finishedAt": "2026-06-01T12:00:00Z"}
    return {"name": "fetch", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": end}}


@pytest.mark.parametrize(
    ("pod", "had_its_chance"),
    [
        pytest.param(a_pod(RUNS), True, id="its server runs and is not ready"),
        pytest.param(a_pod(ENDED), True, id="its server ends again and again"),
        pytest.param(a_pod({"state": {"terminated": {"exitCode": 137}}}), True, id="its server ended"),
        pytest.param(a_pod(PULLING, first=ENDED), True, id="the proof of its files failed"),
        pytest.param(a_pod(PULLING, first=PROVEN), False, id="proven, and its image cannot be had"),
        pytest.param(a_pod(PULLING, first=RUNS), False, id="its files are being proven"),
        pytest.param(a_pod(first=fetched(65)), True, id="the files in the store are others"),
        pytest.param(a_pod(first={**fetched(65), "state": RUNS["state"]}), True, id="others, and it looks again"),
        pytest.param(a_pod(first=fetched(75)), False, id="the store is away"),
        pytest.param(a_pod(first=fetched(64)), False, id="its Secret is empty"),
        pytest.param(a_pod(first=fetched(137)), False, id="who fetches was killed"),
        pytest.param(a_pod(first=FETCHES), False, id="its files are being fetched"),
        pytest.param(a_pod(RUNS, first=fetched(0)), True, id="fetched, and its server is not ready"),
        pytest.param(a_pod(PULLING), False, id="its image cannot be had"),
        pytest.param(a_pod(scheduled="False"), False, id="no room"),
        pytest.param(a_pod({"state": {"waiting": {"reason": "ContainerCreating"}}}), False, id="its volume is not there"),
        pytest.param(a_pod({"state": {"waiting": {"reason": "CreateContainerConfigError"}}}), False, id="a Secret is missing"),
        pytest.param({"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}],
                      "containerStatuses": [RUNS]}}, False, id="it is ready"),
    ],
)  # fmt: skip
def test_whether_a_model_had_its_chance(pod: dict[str, Any], had_its_chance: bool) -> None:
    assert pods_view([pod]).tried is had_its_chance
    assert serving_view("r", a_deployment(), pods_view([pod])).tried is had_its_chance


def test_no_pod_at_all_is_no_chance_and_one_on_its_way_out_does_not_count() -> None:
    assert not pods_view([]).tried
    assert not pods_view([{**a_pod(RUNS), "metadata": {"deletionTimestamp": "2026-06-01T12:00:00Z"}}]).tried


def test_one_pod_that_had_its_chance_is_enough() -> None:
    assert pods_view([a_pod(scheduled="False"), a_pod(RUNS)]).tried


def test_an_end_of_who_fetches_is_no_end_of_a_server_unless_the_files_are_others() -> None:
    """A pod that is made anew while the model has requests, and the store is away."""
    assert crashed_at(a_pod(first=fetched(75))) is None
    assert crashed_at(a_pod(first=fetched(65))) == datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_the_last_end_of_a_server_counts_but_not_when_its_node_was_lost() -> None:
    ended = {"finishedAt": "2026-06-01T12:00:05Z", "reason": "OOMKilled", "exitCode": 137}
    assert crashed_at(a_pod({"lastState": {"terminated": ended}})) == datetime(2026, 6, 1, 12, 0, 5, tzinfo=UTC)
    assert crashed_at(a_pod({"lastState": {"terminated": {**ended, "reason": "Unknown"}}})) is None


def test_an_init_container_that_ended_well_is_no_crash() -> None:
    ended = {"finishedAt": "2026-06-01T12:00:05Z", "reason": "Completed", "exitCode": 0}
    assert crashed_at(a_pod(first={"state": {"terminated": ended}})) is None
    failed = {"state": {"terminated": ended | {"exitCode": 65, "reason": "Error"}}}
    assert crashed_at(a_pod(first=failed)) == datetime(2026, 6, 1, 12, 0, 5, tzinfo=UTC)


def test_a_pod_on_its_way_out_does_not_count() -> None:
    pod = a_pod({"state": {"terminated": {"finishedAt": "2026-06-01T12:00:05Z", "exitCode": 0}}})
    pod["metadata"]["deletionTimestamp"] = "2026-06-01T12:00:04Z"
    assert pods_view([pod]) == PodsView()
