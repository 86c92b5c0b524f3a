"""The Service that clients use where there is no gateway: its selector is the switch."""

import pytest
from serin_operator.api.v1alpha1 import ModelRevision, ModelService
from serin_operator.manifests import names
from serin_operator.manifests.front import EVERYBODY, front_service, selected, selector
from serin_operator.manifests.serving import Serving, deployment, fingerprint, serving_objects
from support.by_pods import a_service_by_pods
from support.service_world import NOON, a_revision, revision_name

SERVICE = ModelService.model_validate(a_service_by_pods(replicas=3))
A = revision_name("a")
REVISION = ModelRevision.model_validate(a_revision("a", NOON))


def test_it_has_the_services_name_and_goes_with_it() -> None:
    found = front_service(SERVICE, A)
    assert (found["metadata"]["name"], found["metadata"]["namespace"]) == ("bot", "ml")
    assert found["metadata"]["ownerReferences"][0]["uid"] == "uid-bot"
    assert names.STAGE not in found["metadata"]["labels"]  # lists of serving children pass it by
    assert found["spec"]["ports"][0]["port"] == 8000


def test_one_label_more_or_less_moves_it() -> None:
    everybody, one = selector("bot", EVERYBODY), selector("bot", A)
    assert one.items() - everybody.items() == {(names.REVISION, A)}
    assert everybody.items() < one.items()
    assert {**front_service(SERVICE, A), "spec": 0} == {**front_service(SERVICE, EVERYBODY), "spec": 0}


def test_its_selectors_find_the_pods_of_the_deployments() -> None:
    labels = deployment(Serving(SERVICE, REVISION, "server:1", "IfNotPresent"))["spec"]["template"]["metadata"][
        "labels"
    ]
    assert selector("bot", EVERYBODY).items() <= labels.items()
    assert selector("bot", A).items() <= labels.items()
    assert not selector("bot", "bot-0").items() <= labels.items()


@pytest.mark.parametrize(
    ("labels", "whom"),
    [
        (selector("bot", A), A),
        (selector("bot", EVERYBODY), EVERYBODY),
        ({}, ""),
        ({"app": "mine"}, ""),
        ({**selector("bot", A), "app": "mine"}, ""),
        (selector("other", A), ""),
        ({names.REVISION: A}, ""),
    ],
)
def test_whom_a_selector_selects(labels: dict[str, str], whom: str) -> None:
    assert selected("bot", labels) == whom


def test_what_would_send_requests_past_the_ratio_is_written_out() -> None:
    spec = front_service(SERVICE, A)["spec"]
    assert spec["sessionAffinity"] == "None"
    assert spec["internalTrafficPolicy"] == "Cluster"
    assert spec["publishNotReadyAddresses"] is False


def test_another_number_of_pods_is_another_wish_for_the_deployment_alone_and_changes_no_pod() -> None:
    usual, fewer = (Serving(SERVICE, REVISION, "server:1", "IfNotPresent", pods) for pods in (None, 1))
    assert deployment(usual)["spec"]["replicas"] == 3
    assert deployment(fewer)["spec"]["replicas"] == 1
    assert deployment(usual)["spec"]["template"] == deployment(fewer)["spec"]["template"]
    marks = [[fingerprint(one) for one in serving_objects(wish)] for wish in (usual, fewer)]
    assert [a == b for a, b in zip(*marks, strict=True)] == [True, True, False]
