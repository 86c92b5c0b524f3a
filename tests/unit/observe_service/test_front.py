"""The Service that clients use, its EndpointSlices and pods, read back as a route."""

from typing import Any

from serin_operator.api.v1alpha1 import ModelService
from serin_operator.decide.service.snapshot import RouteView
from serin_operator.manifests import names
from serin_operator.manifests.front import EVERYBODY, front_service
from serin_operator.observe.front import front_view, ready_pods
from support.by_pods import a_service_by_pods
from support.service_world import revision_name

Json = dict[str, Any]
SERVICE = ModelService.model_validate(a_service_by_pods(replicas=3))
A, B, C = (revision_name(letter) for letter in "abc")


def a_front(selects: str = A) -> Json:
    found = front_service(SERVICE, selects)
    found["metadata"]["resourceVersion"] = "7"
    return found


def pods(**counts: int) -> list[Json]:
    """`a=2`: two pods of revision a."""
    return [
        {"metadata": {"name": f"{revision_name(letter)}-{n}", "labels": {names.REVISION: revision_name(letter)}}}
        for letter, count in counts.items()
        for n in range(count)
    ]


def deployments(**counts: int) -> list[Json]:
    return [
        {"metadata": {"labels": {names.REVISION: revision_name(letter)}}, "spec": {"replicas": count}}
        for letter, count in counts.items()
    ]


def a_slice(*names_of: str, ready: bool | None = True) -> Json:
    conditions = {} if ready is None else {"ready": ready}
    return {"endpoints": [{"targetRef": {"kind": "Pod", "name": name}, "conditions": conditions} for name in names_of]}


def slices(**counts: int) -> list[Json]:
    return [a_slice(*(pod["metadata"]["name"] for pod in pods(**counts)))]


def view(front: Json | None, found: list[Json], **counts: int) -> RouteView | None:
    return front_view(front, found, pods(**counts), deployments(**counts), SERVICE)


def seen(front: Json, found: list[Json], **counts: int) -> RouteView:
    made = view(front, found, **counts)
    assert made is not None
    return made


def test_no_service_is_no_route() -> None:
    assert view(None, [], a=1) is None


def test_one_revision_has_everything_once_its_pods_alone_are_behind_it() -> None:
    found = seen(a_front(A), slices(a=3), a=3, b=1)
    assert (found.weight(A), found.weight(B)) == (100, 0)
    assert (found.programmed, found.serving, found.ours) == (True, True, True)
    assert (found.mentions(A), found.mentions(B)) == (True, False)
    assert found.resource_version == "7"


def test_until_the_slices_follow_nothing_is_taken_up_and_who_leaves_is_still_there() -> None:
    found = seen(a_front(A), slices(a=3, b=1), a=3, b=1)
    assert not found.programmed
    assert found.serving
    assert found.mentions(B)


def test_all_pods_are_weights_by_the_numbers_that_are_wanted() -> None:
    found = seen(a_front(EVERYBODY), slices(a=3, b=1), a=3, b=1)
    assert (found.weight(A), found.weight(B)) == (75, 25)
    assert found.programmed
    assert found.front is not None
    assert found.front.ready == {A: 3, B: 1}
    assert found.mentions(C)  # each that starts is behind it


def test_who_is_selected_has_never_no_weight_however_many_others_there_are() -> None:
    assert seen(a_front(EVERYBODY), slices(a=2), a=400, b=1).weight(B) == 1


def test_a_revision_without_a_ready_pod_is_not_taken_for_gone_while_all_are_selected() -> None:
    assert not seen(a_front(EVERYBODY), slices(a=3), a=3, b=1).programmed


def test_nobody_behind_it_serves_nobody() -> None:
    found = seen(a_front(A), slices(), a=3)
    assert (found.programmed, found.serving) == (False, False)


def test_a_pod_that_nobody_knows_is_waited_for() -> None:
    found = seen(a_front(A), [a_slice(f"{A}-0", "somebody")], a=1)
    assert not found.programmed


def test_pods_count_once_and_only_when_they_are_ready() -> None:
    both_families = [a_slice(f"{A}-0", f"{A}-1"), a_slice(f"{A}-0", f"{A}-1")]
    assert ready_pods(both_families, pods(a=2)) == {A: 2}
    assert ready_pods([a_slice(f"{A}-0", ready=False)], pods(a=1)) == {}
    assert ready_pods([a_slice(f"{A}-0", ready=None)], pods(a=1)) == {A: 1}
    assert ready_pods([{"endpoints": None}], pods(a=1)) == {}


def test_pods_on_their_way_out_are_not_counted_as_there() -> None:
    going = pods(b=1)
    going[0]["metadata"]["deletionTimestamp"] = "2026-06-01T12:00:00Z"
    found = front_view(a_front(A), slices(a=1), [*pods(a=1), *going], deployments(a=1), SERVICE)
    assert found is not None
    assert found.front is not None
    assert found.front.pods == {A: 1}


def test_a_selector_of_somebody_else_is_nobodys_weight() -> None:
    front = a_front(A)
    front["spec"]["selector"] = {"app": "mine"}
    found = seen(front, slices(a=1), a=1)
    assert found.backends == ()
    assert not found.programmed
    assert found.mentions(A)


def test_a_service_of_somebody_else_is_an_obstacle() -> None:
    front = a_front(A)
    front["metadata"]["ownerReferences"] = []
    found = seen(front, slices(a=1), a=1)
    assert (found.obstacle, found.programmed, found.serving) == ("ServiceNameTaken", False, False)
    assert "delete it, or give the ModelService another name" in found.problem
