"""What `down` looks for, and what it must not touch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from serin_devcluster import baseline, teardown
from serin_devcluster.baseline import Baseline
from serin_devcluster.paths import Paths

PATHS = Paths(Path("/cache/serin"))
BEFORE = Baseline(
    sysctls={},
    devices=["eth0", "lo"],
    mounts=["/"],
    nft_tables=[],
    iptables={},
    namespaces=["vpn"],
    folders=[],
    cgroups=[],
)


def mounted(monkeypatch: pytest.MonkeyPatch, *points: str) -> None:
    monkeypatch.setattr(baseline, "mount_points", lambda: ["/", "/proc", *points])


@pytest.mark.parametrize(
    ("command", "ours"),
    [
        pytest.param("/cache/serin/bin/kubernetes-0123456789ab/kubelet --config=x", True, id="a program we built"),
        pytest.param("containerd --config /cache/serin/cluster/containerd.toml", True, id="our containerd"),
        pytest.param(
            "/usr/bin/containerd-shim-runc-v2 -address /run/serin-devcluster/containerd.sock", True, id="its shim"
        ),
        pytest.param("vim /cache/serin/cluster/log/kubelet.log", False, id="an editor on our log"),
        pytest.param("bash -c tail -f /cache/serin/cluster/log/etcd.log", False, id="a shell that names our files"),
        pytest.param(
            "/cache/serin/bin/etcd-1/etcd --data-dir=/tmp/serin-apiserver-77-ab/etcd",
            False,
            id="a test's own apiserver",
        ),
    ],
)
def test_a_process_is_ours_by_what_it_runs_and_not_by_what_it_names(command: str, ours: bool) -> None:
    assert teardown.is_ours(command, PATHS) is ours


def test_mounts_of_pods_and_sandboxes_are_ours_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = [
        "/cache/serin/cluster/kubelet/pods/x/volumes/y",
        "/run/serin-devcluster/containerd/z/rootfs",
        "/run/netns/cni-1",
    ]
    mounted(monkeypatch, *ours, "/run/netns/vpn", "/cache/serin/buildah/root/overlay/abc/merged", "/home")
    assert teardown.our_mounts(PATHS) == ours


def test_the_image_stores_mount_goes_only_when_nothing_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    store = "/cache/serin/buildah/root/overlay"
    mounted(monkeypatch, store)
    assert teardown.image_store_mount(PATHS) == [store]
    mounted(monkeypatch, store, f"{store}/abc/merged")
    assert teardown.image_store_mount(PATHS) == []


def test_a_network_namespace_of_somebody_else_is_no_leftover(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "network_namespaces", lambda: ["cni-1", "vpn"])
    assert teardown.sandbox_namespaces(BEFORE) == ["cni-1"]


def test_what_came_since_is_named_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teardown, "read_sysctl", lambda _: "1")
    now = replace(
        BEFORE, devices=["eth0", "lo", "veth1"], nft_tables=["table ip serin-devcluster"], folders=["/run/containerd"]
    )
    monkeypatch.setattr(baseline, "take", lambda: now)
    before = replace(BEFORE, sysctls={"net/ipv4/ip_forward": "0"})
    assert list(teardown.changes_since(before)) == [
        "sysctl net/ipv4/ip_forward is 1, was 0",
        "network device veth1, which was not there before",
        "nftables table ip serin-devcluster, which was not there before",
        "folder /run/containerd, which was not there before",
    ]


def test_without_a_picture_of_before_nothing_outside_our_folders_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teardown, "remove_foreign", lambda folder: pytest.fail(f"{folder} was removed"))
    teardown.restore(None)


def test_folders_made_since_go_with_their_sockets_and_links(tmp_path: Path) -> None:
    folder = tmp_path / "containers"
    (folder / "pod").mkdir(parents=True)
    target = tmp_path / "kept.log"
    target.write_text("a log elsewhere")
    (folder / "pod" / "log").symlink_to(target)
    teardown.remove_foreign(folder)
    assert not folder.exists()
    assert target.exists()


def test_a_picture_of_the_machine_survives_the_disk(tmp_path: Path) -> None:
    BEFORE.write(tmp_path / "before.json")
    assert Baseline.read(tmp_path / "before.json") == BEFORE
    assert Baseline.read(tmp_path / "none.json") is None
