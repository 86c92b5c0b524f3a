"""Manifests: every placeholder is known, and DNS forwards only to what a pod can reach."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from serin_devcluster import addons
from serin_devcluster.images import IMAGES

IMAGE_NAMES = {image.name: f"localhost/serin/{image.name}:0123456789ab" for image in IMAGES}
VALUES = dict.fromkeys(("dns_address", "volumes", "node", "forward", "config_key"), "x")


@pytest.mark.parametrize(
    "path", sorted(addons.MANIFESTS.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_every_placeholder_of_a_manifest_is_filled(path: Path) -> None:
    assert not re.search("<<|>>", addons.fill(path.read_text(), VALUES, IMAGE_NAMES))


def test_an_image_is_filled_in_whole_or_by_its_parts() -> None:
    text = addons.fill("<<image:envoy>> <<name:envoy>> <<tag:envoy>>", {}, IMAGE_NAMES)
    assert text == "localhost/serin/envoy:0123456789ab localhost/serin/envoy 0123456789ab"


def test_an_unknown_placeholder_is_an_error() -> None:
    with pytest.raises(KeyError):
        addons.fill("<<volume>>", VALUES, IMAGE_NAMES)


def test_every_addon_has_a_kustomization_that_names_its_upstream_files() -> None:
    for addon in addons.ADDONS:
        text = (addons.MANIFESTS / addon.folder / "kustomization.yaml").read_text()
        for name in addon.upstream:
            assert f"upstream/{Path(name).name}" in text, addon.folder


def test_a_resolver_on_loopback_is_no_use_to_a_pod(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("# comment\nnameserver 127.0.0.53\nnameserver 192.0.2.53\nsearch example.com\nnameserver ::1\n")
    assert addons.nameservers(file) == ["192.0.2.53"]


def test_a_machine_without_a_resolver_refuses_outside_names_at_once(tmp_path: Path) -> None:
    assert addons.nameservers(tmp_path / "none") == []
    assert not addons.forward_rule(tmp_path / "none").startswith("forward")
