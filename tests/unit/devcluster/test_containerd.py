"""containerd's configuration, and which of its names an image has."""

from __future__ import annotations

import tomllib
from pathlib import Path

from serin_devcluster import containerd
from serin_devcluster.containerd import config, pod_network, with_digest_names
from serin_devcluster.paths import Paths

TARGETS = {
    "x/trainer:old": "sha256:m1",
    "sha256:c1": "sha256:m1",
    "x/trainer:new": "sha256:m2",
    "sha256:c2": "sha256:m2",
}


def test_an_image_goes_with_the_digest_name_that_would_keep_its_layers() -> None:
    assert with_digest_names(TARGETS, ["x/trainer:old"]) == ["sha256:c1", "x/trainer:old"]


def test_a_digest_name_stays_while_another_name_needs_its_image() -> None:
    assert with_digest_names({**TARGETS, "x/alias:1": "sha256:m1"}, ["x/trainer:old"]) == ["x/trainer:old"]


def test_nothing_of_containerd_lies_where_the_machines_own_would_be(tmp_path: Path) -> None:
    document = tomllib.loads(config(Paths(tmp_path), "localhost/pause:1"))
    assert document["root"] == str(tmp_path / "containerd")
    assert document["state"].startswith("/run/serin-devcluster")
    assert document["grpc"]["address"] == str(containerd.SOCKET)
    cri = document["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["sandbox_image"] == "localhost/pause:1"
    assert cri["cni"]["conf_dir"].startswith(str(tmp_path))


def test_pods_hang_on_the_host_without_rules_of_the_network_plugin(tmp_path: Path) -> None:
    (plugin,) = pod_network(Paths(tmp_path))["plugins"]  # type: ignore[misc]
    assert plugin["ipMasq"] is False
    assert plugin["type"] == "ptp"
