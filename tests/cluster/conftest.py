"""One real kube-apiserver for all tests of this room. There is no node: the test plays kubelet and controllers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from serin_devcluster.apiserver import ApiServer
from serin_devcluster.errors import DevclusterError


@pytest.fixture(scope="session")
def apiserver() -> Iterator[ApiServer]:
    """`apiserver.kubeconfig` is the path of an admin's kubeconfig, `apiserver.kubectl(...)` runs kubectl with it."""
    try:
        server = ApiServer().start()
    except DevclusterError as error:
        pytest.fail(str(error))  # a missing program names `make tools`
    yield server
    server.stop()


@pytest.fixture(scope="session")
def kubectl(apiserver: ApiServer) -> Callable[..., Any]:
    """kubectl whose answer is parsed when it is asked for with `-o json`."""

    def run(*args: str, stdin: str | None = None) -> Any:
        said = apiserver.kubectl(*args, stdin=stdin)
        return json.loads(said) if "json" in args else said

    return run


@pytest.fixture
def namespace(apiserver: ApiServer) -> str:
    """A fresh namespace for one test. It is not emptied: without its controller a namespace never goes away."""
    import uuid

    name = f"t-{uuid.uuid4().hex[:8]}"
    apiserver.kubectl("create", "namespace", name)
    return name
