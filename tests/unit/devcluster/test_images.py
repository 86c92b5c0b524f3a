"""The table of images: keys, what a build may see, and what the machine's settings leave in an image: nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from serin_devcluster import images
from serin_devcluster.buildah import MOUNTED_FILES, abandoned, passed_arguments, pip_settings, with_arguments
from serin_devcluster.images import Catalog, Image, stage
from serin_devcluster.paths import Paths


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "checkout"
    for name in ("base", "trainer"):
        (root / name / "src").mkdir(parents=True)
        (root / name / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n")
        (root / name / "src" / "main.py").write_text("pass\n")
        (root / name / "notes.md").write_text("not part of the image\n")
    monkeypatch.setattr(images, "CHECKOUT", root)
    return root


INPUTS = ("Dockerfile", "src/**/*")
TABLE = (Image("base", "base", INPUTS, parent="debian"), Image("trainer", "trainer", INPUTS, parent="base"))


def references() -> dict[str, str]:
    return Catalog(TABLE).references


def test_a_tag_changes_with_an_input_and_with_the_parents_tag(checkout: Path) -> None:
    before = references()
    (checkout / "base" / "src" / "main.py").write_text("print()\n")
    after = references()
    assert after["base"] != before["base"]
    assert after["trainer"] != before["trainer"]
    assert after["debian"] == before["debian"]


def test_a_tag_does_not_change_with_a_file_that_is_no_input(checkout: Path) -> None:
    before = references()
    (checkout / "trainer" / "notes.md").write_text("edited\n")
    assert references() == before


def test_a_build_sees_its_inputs_and_nothing_else(checkout: Path, tmp_path: Path) -> None:
    context = stage(TABLE[1], Paths(tmp_path / "cache"))
    seen = sorted(str(path.relative_to(context)) for path in context.rglob("*") if path.is_file())
    assert seen == ["Dockerfile", "src/main.py"]


def test_an_image_without_a_dockerfile_is_not_in_the_catalog_yet(checkout: Path) -> None:
    (checkout / "trainer" / "Dockerfile").unlink()
    assert set(references()) == {"debian", "base"}


def test_images_of_older_keys_are_outdated_and_foreign_ones_are_not(checkout: Path) -> None:
    catalog = Catalog(TABLE)
    current = catalog.references["trainer"]
    held = [current, "localhost/serin/trainer:000000000000", "docker.io/library/debian:bookworm-slim", "localhost/x:1"]
    assert catalog.outdated(held) == ["localhost/serin/trainer:000000000000"]


def test_parents_stand_before_their_children_in_the_real_table() -> None:
    known = {images.DEBIAN}
    for image in images.IMAGES:
        assert image.parent is None or image.parent in known, image.name
        known.add(image.name)


def test_arguments_are_declared_in_every_stage_of_a_dockerfile() -> None:
    text = with_arguments(
        "ARG BASE\nFROM ${BASE} AS one\nRUN a\nFROM scratch\nCOPY --from=one /a /a\n", ["SSL_CERT_FILE"]
    )
    assert text.splitlines() == [
        "ARG BASE", "FROM ${BASE} AS one", "ARG SSL_CERT_FILE", "RUN a", "FROM scratch", "ARG SSL_CERT_FILE", "COPY --from=one /a /a",
    ]  # fmt: skip


def test_a_machine_without_settings_passes_only_where_the_mounted_files_lie() -> None:
    assert passed_arguments({}) == MOUNTED_FILES
    assert pip_settings({}) == "[global]\ncert = /run/serin-build/ca.crt\n"


def test_pips_settings_go_into_the_mounted_file_and_places_of_this_machine_do_not() -> None:
    text = pip_settings(
        {"PIP_INDEX_URL": "https://user:secret@pip.example.com", "PIP_FIND_LINKS": "/opt/w", "HOME": "/h"}
    )
    assert "index-url = https://user:secret@pip.example.com" in text
    assert "/opt/w" not in text


def test_an_address_with_a_password_does_not_become_a_build_argument() -> None:
    passed = passed_arguments({"UV_DEFAULT_INDEX": "https://user:secret@pip.example.com", "UV_HTTP_TIMEOUT": "60"})
    assert "UV_DEFAULT_INDEX" not in passed
    assert passed["UV_HTTP_TIMEOUT"] == "60"


def test_containers_of_killed_builds_and_tests_are_abandoned_and_those_of_living_ones_are_not() -> None:
    mine, dead = f"in-image.{os.getpid()}", f"in-image.{2**22 + 1}"
    names = ["base-working-container-1", "06dc65d0ef3c-working-container", mine, dead, "somebody's"]
    assert abandoned(names) == ["base-working-container-1", "06dc65d0ef3c-working-container", dead]
