"""Pods that fetch their weights: no claim, an init container with the credentials, and a server that only reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from serin_operator.api.v1alpha1 import ModelRevision, ModelService
from serin_operator.manifests.serving import Serving, serving_objects
from support.service_world import NOON, a_revision, a_service, digest_of

Json = dict[str, Any]
GOLDEN = Path(__file__).parents[2] / "golden" / "serving"
STORE = {
    "uri": "s3://models/bots/",
    "s3": {"endpoint": "https://minio:9000", "region": "eu-1", "caRef": {"name": "ours"}},
    "secretRef": {"name": "store"},
}
NAME = digest_of("a").replace(":", "-")
CUSTOM = {"engine": "Custom", "custom": {"image": "x/y:1", "args": ["{{modelPath}}"]}}


def objects(
    weights: Json | None = None, artifact: Json | None = None, fetcher: str = "trainer:1", **runtime: Any
) -> Json:
    service, revision = a_service(), a_revision("a", NOON)
    service["spec"]["runtime"] |= {"weights": weights or STORE, **runtime}
    revision["spec"]["artifact"] |= {"sizeBytes": 15_000_000, **(artifact or {})}
    made = ModelService.model_validate(service), ModelRevision.model_validate(revision)
    wish = Serving(*made, "server:1", "IfNotPresent", fetcher=fetcher)
    return {part["kind"]: dict(part) for part in serving_objects(wish)}


def pod(**given: Any) -> Json:
    return objects(**given)["Deployment"]["spec"]["template"]["spec"]


def weights_of(made: Json) -> Json:
    return next(volume for volume in made["volumes"] if volume["name"] == "weights")


def test_a_pod_that_fetches_is_the_golden_one() -> None:
    """A difference is a restart of every such pod there is: mean it."""
    assert objects()["Deployment"] == yaml.safe_load((GOLDEN / "fetched.yaml").read_text())


@pytest.mark.parametrize("runtime", [{}, CUSTOM], ids=["CPU", "Custom"])
def test_no_claim_is_mounted_so_that_pods_run_anywhere(runtime: Json) -> None:
    assert "persistentVolumeClaim" not in json.dumps(pod(**runtime))


@pytest.mark.parametrize("runtime", [{}, CUSTOM], ids=["CPU", "Custom"])
def test_only_who_fetches_has_the_credentials_and_may_write(runtime: Json) -> None:
    made = pod(**runtime)
    [first], [server] = made["initContainers"], made["containers"]
    mounts = [{m["mountPath"]: m.get("readOnly", False) for m in one["volumeMounts"]} for one in (first, server)]
    assert [of["/mnt/weights"] for of in mounts] == [False, True]
    assert ["/etc/serin-authorities/configmap-ours" in of for of in mounts] == [True, False]
    assert "SERIN_SECRET_STORE__AWS_SECRET_ACCESS_KEY" in json.dumps(first["env"])
    assert "SERIN_SECRET" not in json.dumps(server)


def test_the_model_is_looked_for_under_its_digest() -> None:
    files = objects()["ConfigMap"]["data"]
    fetch, serve = json.loads(files["fetch.json"]), json.loads(files["config.json"])
    assert fetch["models"] == [{"digest": digest_of("a"), "folder": "model"}]
    assert serve["model"] == {
        "uri": f"s3://models/bots/{NAME}", "digest": digest_of("a"), "path": "/mnt/weights/model", "name": "bot",
    }  # fmt: skip
    at_the_hub = json.loads(objects(weights={"uri": "hf://team/bots"})["ConfigMap"]["data"]["config.json"])
    assert at_the_hub["model"]["uri"] == f"hf://team/bots@{NAME}"


def test_another_server_is_told_the_folder_and_is_not_verified_twice() -> None:
    made = pod(**CUSTOM)
    assert made["containers"][0]["args"] == ["/mnt/weights/model"]
    assert [one["name"] for one in made["initContainers"]] == ["fetch"]


def test_an_adapters_base_comes_from_the_same_place() -> None:
    files = objects(artifact={"base": {"uri": "pvc://models/base", "digest": digest_of("b")}})["ConfigMap"]["data"]
    fetch, serve = json.loads(files["fetch.json"]), json.loads(files["config.json"])
    assert [model["folder"] for model in fetch["models"]] == ["model", "base"]
    assert serve["model"]["base"]["uri"] == f"s3://models/bots/{digest_of('b').replace(':', '-')}"
    assert serve["model"]["base"]["path"] == "/mnt/weights/base"


def test_the_disk_is_asked_for_where_the_size_is_known() -> None:
    known = pod()
    assert weights_of(known)["emptyDir"] == {"sizeLimit": "79Mi"}
    assert known["initContainers"][0]["resources"]["requests"]["ephemeral-storage"] == "79Mi"
    of_an_adapter = {"base": {"uri": "pvc://models/base", "digest": digest_of("b")}}
    for artifact in ({"sizeBytes": None}, of_an_adapter):
        unknown = pod(artifact=artifact)
        assert weights_of(unknown)["emptyDir"] == {}
        assert "ephemeral-storage" not in json.dumps(unknown)


def test_another_image_of_who_fetches_concerns_nobody_who_mounts_a_claim() -> None:
    service, revision = ModelService.model_validate(a_service()), ModelRevision.model_validate(a_revision("a", NOON))
    made = [
        serving_objects(Serving(service, revision, "server:1", "Always", fetcher=image)) for image in ("a:1", "b:1")
    ]
    assert made[0] == made[1]
    assert objects(fetcher="a:1") != objects(fetcher="b:1")
