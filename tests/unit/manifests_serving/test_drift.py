"""What counts as an edit of a child, and what is nobody's business."""

from typing import Any

import pytest
from serin_operator.manifests.drift import covers

WISH: dict[str, Any] = {
    "replicas": 2,
    "containers": [{"name": "server", "image": "i", "resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}}}],
    "command": ["python", "-m", "x"],
    "emptyDir": {},
}


@pytest.mark.parametrize(
    "live",
    [
        pytest.param(WISH, id="as it was applied"),
        pytest.param(WISH | {"strategy": "RollingUpdate"}, id="a default of the apiserver"),
        pytest.param({k: v for k, v in WISH.items() if k != "emptyDir"}, id="an empty object that was left out"),
        pytest.param(
            WISH
            | {"containers": [{"name": "proxy", "image": "p"}, {"name": "server", "image": "i", "terminationMessagePath":
               "/dev", "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}]},
            id="a sidecar of others, and quantities in the apiserver's words",
        ),
    ],
)  # fmt: skip
def test_what_we_do_not_name_is_not_ours(live: dict[str, Any]) -> None:
    assert covers(live, WISH)


@pytest.mark.parametrize(
    "live",
    [
        pytest.param({}, id="empty"),
        pytest.param(WISH | {"replicas": 0}, id="scaled by hand"),
        pytest.param(WISH | {"command": ["python", "-m", "y"]}, id="another command"),
        pytest.param(WISH | {"command": ["python", "-m", "x", "-v"]}, id="one word more"),
        pytest.param(WISH | {"containers": []}, id="without its container"),
        pytest.param(WISH | {"containers": [{"name": "server", "image": "j"}]}, id="another image"),
        pytest.param(WISH | {"replicas": None}, id="nothing where a number was"),
    ],
)
def test_what_we_name_is(live: dict[str, Any]) -> None:
    assert not covers(live, WISH)
