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


def test_the_trainer_adds_to_the_base_what_prepares_data_quantises_and_watches_gpus_and_wandb_with_what_it_needs() -> (
    None
):
    added = _pins("trainer-image").keys() - _pins("images/base").keys()
    of_wandb = {name for name in added if name.startswith("opentelemetry-")} | {
        "charset-normalizer",
        "cwevals",
        "distro",
        "googleapis-common-protos",
        "platformdirs",
        "protobuf",
        "requests",
        "sniffio",
        "urllib3",
        "xxhash",
    }
    assert added == {"bitsandbytes", "nvidia-ml-py", "py3langid", "pyarrow", "rensa", "wandb"} | of_wandb


def test_the_evaluator_has_lm_evaluation_harness_and_nltk_and_only_what_they_import() -> None:
    pins = _pins("evaluator-image").keys()

    assert {"lm-eval", "datasets", "nltk", "pandas", "pyarrow"} < pins
    assert not pins & {"evaluate", "scikit-learn", "scipy", "joblib", "aiohttp", "pytablewriter"}


def test_no_image_with_torch_has_the_kubernetes_client() -> None:
    assert not any("kubernetes" in _pins(folder) for folder in ["images/base", *IMAGES])
