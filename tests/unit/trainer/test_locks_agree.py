"""An image above the base installs no second version of what the base already has."""

import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
IMAGES = sorted(path.parent.name for path in CHECKOUT.glob("*-image/uv.lock"))


def _pins(folder: str) -> dict[str, str]:
    lock = tomllib.loads((CHECKOUT / folder / "uv.lock").read_text())
    return {package["name"]: package["version"] for package in lock["package"] if "registry" in package["source"]}


@pytest.mark.parametrize("image", IMAGES)
def test_shared_packages_have_the_version_of_the_base(image: str) -> None:
    base, above = _pins("images/base"), _pins(image)
    differing = {name: (base[name], above[name]) for name in base.keys() & above.keys() if base[name] != above[name]}
    assert differing == {}


def test_the_trainer_adds_to_the_base_what_prepare_reads_and_checks_data_with() -> None:
    assert _pins("trainer-image").keys() - _pins("images/base").keys() == {"py3langid", "pyarrow", "rensa"}


def test_no_image_with_torch_has_the_kubernetes_client() -> None:
    assert not any("kubernetes" in _pins(folder) for folder in ["images/base", *IMAGES])
