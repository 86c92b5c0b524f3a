"""What guards a write against a stale look, on a real apiserver: only it knows whether a precondition is one."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from serin_devcluster.apiserver import ApiServer
from serin_operator.api.kinds import MODEL_SERVICE
from serin_operator.errors import Conflict
from serin_operator.rest import Cluster
from support.service_world import a_service

Json = dict[str, Any]
MANAGER = "test"


@pytest.fixture(scope="module", autouse=True)
def crds(apiserver: ApiServer) -> None:
    apiserver.kubectl("apply", "--server-side", "-f", "crds/")
    apiserver.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=110s")


@pytest.fixture
async def cluster(apiserver: ApiServer) -> AsyncIterator[Cluster]:
    settings = Configuration()
    load: Any = config
    await load.load_kube_config(config_file=str(apiserver.kubeconfig), client_configuration=settings)
    client = ApiClient(settings)
    yield Cluster(client)
    await client.close()


@pytest.fixture
async def service(cluster: Cluster, namespace: str) -> Json:
    wish = a_service()
    meta = {"name": "bot", "namespace": namespace}
    return await cluster.apply(MODEL_SERVICE, wish | {"metadata": meta}, MANAGER)


def version(found: Json) -> str:
    return found["metadata"]["resourceVersion"]


async def write_status(cluster: Cluster, service: Json, message: str) -> Json:
    meta = {key: service["metadata"][key] for key in ("name", "namespace")}
    head = {"apiVersion": MODEL_SERVICE.api_version, "kind": MODEL_SERVICE.kind, "metadata": meta}
    return await cluster.apply(MODEL_SERVICE, head | {"status": {"message": message}}, MANAGER, "status")


async def test_confirming_the_newest_version_passes_and_stores_nothing(cluster: Cluster, service: Json) -> None:
    written = await write_status(cluster, service, "serves")
    await cluster.confirm(MODEL_SERVICE, written["metadata"]["namespace"], "bot", version(written))
    found = await cluster.get(MODEL_SERVICE, written["metadata"]["namespace"], "bot")
    assert found is not None
    assert version(found) == version(written)
    assert found["status"]["message"] == "serves"


async def test_confirming_an_older_version_is_a_conflict(cluster: Cluster, service: Json) -> None:
    await write_status(cluster, service, "rejected")
    with pytest.raises(Conflict):
        await cluster.confirm(MODEL_SERVICE, service["metadata"]["namespace"], "bot", version(service))


async def test_confirming_what_is_gone_is_a_conflict(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(Conflict):
        await cluster.confirm(MODEL_SERVICE, namespace, "nobody", "1")


async def test_an_apply_that_names_an_older_version_changes_nothing(cluster: Cluster, service: Json) -> None:
    namespace = service["metadata"]["namespace"]
    await write_status(cluster, service, "moved on")
    late = json.loads(json.dumps(a_service(minRequests=1)))
    late["metadata"] = {"name": "bot", "namespace": namespace, "resourceVersion": version(service)}
    with pytest.raises(Conflict):
        await cluster.apply(MODEL_SERVICE, late, MANAGER)
    found = await cluster.get(MODEL_SERVICE, namespace, "bot")
    assert found is not None
    assert found["spec"]["canary"]["minRequests"] == 5


async def test_an_apply_that_names_a_version_makes_anew_what_was_deleted(cluster: Cluster, service: Json) -> None:
    """So a version does not guard against a deletion: fences do, on the objects that the decision was about."""
    meta = service["metadata"]
    await cluster.delete(MODEL_SERVICE, meta["namespace"], "bot", meta["uid"], version(service))
    late = a_service() | {"metadata": {key: meta[key] for key in ("name", "namespace", "resourceVersion")}}
    again = await cluster.apply(MODEL_SERVICE, late, MANAGER)
    assert again["metadata"]["uid"] != meta["uid"]


async def test_a_delete_on_an_older_version_deletes_nothing(cluster: Cluster, service: Json) -> None:
    meta = service["metadata"]
    await write_status(cluster, service, "moved on")
    with pytest.raises(Conflict):
        await cluster.delete(MODEL_SERVICE, meta["namespace"], "bot", meta["uid"], version(service))
    assert await cluster.get(MODEL_SERVICE, meta["namespace"], "bot") is not None
