"""One control plane with a real Job controller, Kueue and the operator for all tests of this room, each under a name of its
own, so that the audit log tells who wrote what. Only the kubelet is played (`kubelet.py`)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kueue.kubelet import Kubelet
from kueue.team import OPERATOR, Team
from serin_devcluster.apiserver import ApiServer
from serin_devcluster.errors import DevclusterError
from serin_devcluster.pki import kubeconfig
from support.kueue import Kueue
from support.operator_process import OperatorProcess

CONTROLLERS = (
    "job-controller",
    "garbage-collector-controller",
    "serviceaccount-controller",
    "namespace-controller",
)
PRIORITIES = {"research-low": 10, "production-high": 1000}


@pytest.fixture(scope="session")
def server() -> Iterator[ApiServer]:
    try:
        found = ApiServer(controllers=CONTROLLERS).start()
    except DevclusterError as error:
        pytest.fail(str(error))  # a missing program names its target
    found.kubectl("apply", "--server-side", "-f", "crds/")
    for name, value in PRIORITIES.items():
        found.kubectl("create", "priorityclass", name, f"--value={value}")
    yield found
    found.stop()


@pytest.fixture(scope="session")
def kueue(server: ApiServer) -> Iterator[Kueue]:
    found = Kueue(server)
    try:
        yield found.start()
    finally:
        found.stop()


@pytest.fixture(scope="session")
def operator(server: ApiServer, kueue: Kueue) -> Iterator[OperatorProcess]:
    authority = server.authority
    own = server.folder / "operator.kubeconfig"
    pair = authority.issue("operator", f"/O=system:masters/CN={OPERATOR}")
    own.write_text(kubeconfig(server.url, authority.ca.certificate, pair))
    process = OperatorProcess(own).start()
    yield process
    process.stop()


@pytest.fixture(scope="session")
def kubelet(server: ApiServer) -> Iterator[Kubelet]:
    with Kubelet(server) as found:
        yield found


@pytest.fixture
def team(
    server: ApiServer, kueue: Kueue, operator: OperatorProcess, kubelet: Kubelet, request: pytest.FixtureRequest
) -> Team:
    """A namespace with a LocalQueue in a ClusterQueue that has room for one job of two pods."""
    number = sum(map(ord, request.node.name)) % 10**6
    return Team(server, kueue, operator, kubelet, f"k{number}").prepare()
