"""One control plane for all tests of this room; every test takes a fresh namespace of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faults.harness.operators import Zygote
from faults.harness.plane import Plane
from serin_devcluster.errors import DevclusterError


@pytest.fixture(scope="session")
def plane() -> Iterator[Plane]:
    try:
        found = Plane().__enter__()
    except DevclusterError as error:
        pytest.fail(str(error))  # a missing program names `make tools`
    yield found
    found.__exit__(None, None, None)


@pytest.fixture
def namespace(plane: Plane) -> str:
    return plane.namespace()


@pytest.fixture(scope="session", autouse=True)
def zygote() -> Iterator[None]:
    """The operators' parent goes with the session."""
    yield
    Zygote.close_shared()
