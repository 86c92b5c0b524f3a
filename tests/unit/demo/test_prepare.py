"""Which cluster the demo takes, and where its images come from."""

import pytest
from serin_demo.errors import DemoError
from serin_demo.prepare import EXAMPLES, given, named_images
from serin_devcluster.paths import Paths


def test_without_a_name_the_repo_s_own_cluster_is_meant() -> None:
    assert not given({})


def test_a_named_cluster_is_taken() -> None:
    assert given({"KUBECONFIG": "/somewhere/config"})
    assert given({"SERIN_CONTEXT": "kind-serin"})


def test_the_kubeconfig_of_the_repo_s_own_cluster_is_no_other_cluster() -> None:
    assert not given({"KUBECONFIG": str(Paths.default().kubeconfig)})


def test_images_of_a_named_cluster_follow_a_pattern() -> None:
    images = named_images({"SERIN_IMAGES": "registry.example.com/serin/{name}:1.0"})
    assert images["trainer"] == "registry.example.com/serin/trainer:1.0"


def test_a_named_cluster_without_images_is_refused_with_advice() -> None:
    with pytest.raises(DemoError, match="SERIN_IMAGES"):
        named_images({})


def test_the_examples_are_where_the_demo_looks_for_them() -> None:
    assert (EXAMPLES / "20-service.yaml").exists()
