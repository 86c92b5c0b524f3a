"""What serves a revision: hardened, reachable, and gone without a failed request."""

import json
import re
from typing import Any

import pytest
from serin_operator.api.v1alpha1 import ModelRevision, ModelService, Resources
from serin_operator.manifests import names
from serin_operator.manifests.engines import threads
from serin_operator.manifests.route import http_route
from serin_operator.manifests.serving import Serving, config_map, fingerprint, serving_objects
from support.service_world import NOON, a_revision, a_service, digest_of, revision_name

Json = dict[str, Any]


def objects(image: str = "server:1", **canary: Any) -> dict[str, Json]:
    wish = Serving(
        ModelService.model_validate(a_service(**canary)),
        ModelRevision.model_validate(a_revision("a", NOON)),
        image,
        "IfNotPresent",
    )
    return {part["kind"]: part for part in serving_objects(wish)}


def pod_spec() -> Json:
    return objects()["Deployment"]["spec"]["template"]["spec"]


def test_all_parts_carry_the_revisions_name_labels_and_owner() -> None:
    for part in objects().values():
        meta = part["metadata"]
        assert meta["name"] == revision_name("a")
        assert meta["labels"] == {
            names.MANAGED_BY: "serin",
            names.SERVICE: "bot",
            names.REVISION: revision_name("a"),
            names.STAGE: "serve",
        }
        assert meta["ownerReferences"][0] | {"uid": "uid-bot", "controller": True} == meta["ownerReferences"][0]


def test_the_config_is_what_the_contract_says() -> None:
    config = json.loads(objects()["ConfigMap"]["data"]["config.json"])
    assert config == {
        "stage": "Serve",
        "key": "a" * 16,
        "job": {"namespace": "ml", "name": "bot"},
        "output": "",
        "model": {"uri": "pvc://artifacts/ml/model-a", "digest": digest_of("a"), "name": "bot"},
        "revision": revision_name("a"),
        "port": 8000,
        "maxNewTokens": 64,
        "maxQueue": 64,
        "feedbackKey": config["feedbackKey"],
    }


def test_all_revisions_of_a_service_share_the_key_of_feedback_and_no_other_service_has_it() -> None:
    def key(revision: str = "a", uid: str = "uid-bot") -> str:
        service = a_service()
        service["metadata"]["uid"] = uid
        wish = Serving(
            ModelService.model_validate(service),
            ModelRevision.model_validate(a_revision(revision, NOON)),
            "server:1",
            "IfNotPresent",
        )
        return json.loads(config_map(wish)["data"]["config.json"])["feedbackKey"]

    assert re.fullmatch("[0-9a-f]{64}", key())
    assert key(revision="b") == key()
    assert key(uid="another") != key()


def test_an_adapter_is_served_with_its_base_from_both_claims() -> None:
    manifest = a_revision("a", NOON)
    base = {"uri": "pvc://models/base", "digest": digest_of("b")}
    manifest["spec"]["artifact"]["base"] = base
    wish = Serving(
        ModelService.model_validate(a_service()), ModelRevision.model_validate(manifest), "server:1", "IfNotPresent"
    )
    parts = {part["kind"]: part for part in serving_objects(wish)}
    assert json.loads(parts["ConfigMap"]["data"]["config.json"])["model"]["base"] == base
    spec = parts["Deployment"]["spec"]["template"]["spec"]
    claims = [v["persistentVolumeClaim"] for v in spec["volumes"] if "persistentVolumeClaim" in v]
    assert claims == [{"claimName": "artifacts", "readOnly": True}, {"claimName": "models", "readOnly": True}]
    mounted = {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"] if mount.get("readOnly")}
    assert {"/mnt/pvc/artifacts", "/mnt/pvc/models"} <= mounted


def test_pods_pass_pod_security_restricted_and_have_no_token() -> None:
    spec = pod_spec()
    security = spec["containers"][0]["securityContext"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 65532
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}


def test_the_model_is_mounted_read_only_where_the_contract_says() -> None:
    spec = pod_spec()
    claim = next(volume for volume in spec["volumes"] if "persistentVolumeClaim" in volume)
    mount = next(m for m in spec["containers"][0]["volumeMounts"] if m["name"] == claim["name"])
    assert claim["persistentVolumeClaim"] == {"claimName": "artifacts", "readOnly": True}
    assert mount["mountPath"] == "/mnt/pvc/artifacts"
    assert mount["readOnly"] is True


def test_a_pod_that_goes_finishes_its_answers_first() -> None:
    deployment = objects()["Deployment"]["spec"]
    spec = deployment["template"]["spec"]
    sleep = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert 0 < sleep < spec["terminationGracePeriodSeconds"]
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_loading_may_take_as_long_as_the_canary_allows() -> None:
    startup = pod_spec()["containers"][0]["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 86400


def test_an_edit_of_the_canary_does_not_restart_pods_that_serve() -> None:
    one, other = objects(progressDeadlineSeconds=60)["Deployment"], objects(progressDeadlineSeconds=90)["Deployment"]
    assert one["spec"]["template"] == other["spec"]["template"]
    assert other["spec"]["progressDeadlineSeconds"] == 90


def test_prometheus_finds_the_pods_and_knows_their_revision() -> None:
    meta = objects()["Deployment"]["spec"]["template"]["metadata"]
    assert meta["annotations"]["prometheus.io/scrape"] == "true"
    assert meta["annotations"]["prometheus.io/port"] == "8000"
    assert meta["annotations"]["prometheus.io/path"] == "/metrics"
    assert meta["labels"][names.REVISION] == revision_name("a")


def test_the_service_selects_the_pods_of_its_revision() -> None:
    parts = objects()
    labels = parts["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert parts["Service"]["spec"]["selector"].items() <= labels.items()
    assert parts["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_the_same_wish_has_the_same_fingerprint_and_another_has_another() -> None:
    assert fingerprint(objects()["Deployment"]) == fingerprint(objects()["Deployment"])
    assert fingerprint(objects()["Deployment"]) != fingerprint(objects("server:2")["Deployment"])
    assert fingerprint(objects()["Service"]) == fingerprint(objects("server:2")["Service"])


@pytest.mark.parametrize(
    ("resources", "want"),
    [
        pytest.param(Resources(), 1, id="nothing said"),
        pytest.param(Resources(limits={"cpu": "2"}), 2, id="the limit"),
        pytest.param(Resources(limits={"cpu": 4}), 4, id="a number"),
        pytest.param(Resources(limits={"cpu": "2500m"}), 2, id="millicores are rounded down"),
        pytest.param(Resources(limits={"cpu": "500m"}), 1, id="at least one"),
        pytest.param(Resources(limits={"cpu": "0.5"}), 1, id="half a core"),
        pytest.param(Resources(requests={"cpu": "3"}), 3, id="the request when there is no limit"),
        pytest.param(Resources(limits={"cpu": "1k"}), 1000, id="a thousand"),
        pytest.param(Resources(limits={"cpu": "2Ki"}), 1024, id="more than any machine has"),
        pytest.param(Resources(limits={"cpu": "9e99"}), 1024, id="a number of a hundred digits"),
        pytest.param(Resources(limits={"cpu": "3e0"}), 3, id="an exponent"),
        pytest.param(Resources(limits={"cpu": "500000u"}), 1, id="millionths"),
        pytest.param(Resources(limits={"cpu": "-4"}), 1, id="less than nothing, which the apiserver refuses"),
        pytest.param(Resources(limits={"cpu": "NaN"}), 1, id="no number"),
        pytest.param(Resources(limits={"memory": "1Gi"}, requests={"cpu": "3"}), 3, id="a limit of something else"),
    ],
)
def test_threads(resources: Resources, want: int) -> None:
    assert threads(resources) == want


def test_the_route_names_gateway_hosts_and_weights_with_nothing_left_to_defaults() -> None:
    route = http_route(ModelService.model_validate(a_service()), [("bot-1", 90), ("bot-2", 0)])
    assert route["spec"]["parentRefs"] == [
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "infra", "name": "public"}
    ]
    assert route["spec"]["hostnames"] == ["bot.example.com"]
    assert route["spec"]["rules"][0]["backendRefs"] == [
        {"group": "", "kind": "Service", "name": "bot-1", "port": 8000, "weight": 90},
        {"group": "", "kind": "Service", "name": "bot-2", "port": 8000, "weight": 0},
    ]
