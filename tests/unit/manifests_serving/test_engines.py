"""The three engines: Serin's CPU server, vLLM as its documentation runs it, and any other OpenAI server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from serin_operator.api.v1alpha1 import ModelRevision, ModelService
from serin_operator.manifests.serving import Serving, serving_objects
from support.service_world import NOON, a_revision, a_service

Json = dict[str, Any]
GOLDEN = Path(__file__).parents[2] / "golden" / "serving"
VLLM = {
    "engine": "VLLM",
    "replicas": 2,
    "resources": {"limits": {"nvidia.com/gpu": 2, "memory": "64Gi"}},
    "vllm": {
        "image": "vllm/vllm-openai:v0.11.0",
        "tensorParallelSize": 2,
        "maxModelLen": 8192,
        "gpuMemoryUtilization": "0.9",
        "extraArgs": ["--enable-prefix-caching", "--max-num-seqs=64"],
    },
}
CUSTOM = {
    "engine": "Custom",
    "resources": {"limits": {"cpu": "2"}},
    "custom": {
        "image": "registry.example/llama-server:b1234",
        "args": ["--model", "{{modelPath}}/model.gguf", "--alias={{modelName}}", "--port", "8000"],
        "env": [{"name": "LLAMA_ARG_CTX_SIZE", "value": "4096"}, {"name": "HOME", "value": "/tmp/home"}],
        "healthPath": "/v1/health",
    },
}
CPU = {"engine": "CPU", "resources": {"limits": {"cpu": "2"}}, "maxNewTokens": 64}


def deployment(runtime: Json) -> Json:
    made = a_service()
    made["spec"]["runtime"] = runtime
    wish = Serving(
        ModelService.model_validate(made),
        ModelRevision.model_validate(a_revision("a", NOON)),
        "server:1",
        "IfNotPresent",
    )
    return {part["kind"]: dict(part) for part in serving_objects(wish)}["Deployment"]


def pod(runtime: Json) -> Json:
    return deployment(runtime)["spec"]["template"]["spec"]


def test_a_vllm_deployment_is_the_golden_one() -> None:
    """A difference is a restart of every vLLM pod there is: mean it."""
    assert deployment(VLLM) == yaml.safe_load((GOLDEN / "vllm.yaml").read_text())


def test_vllm_serves_the_mounted_files_under_the_services_name_on_the_port_of_the_route() -> None:
    server = pod(VLLM)["containers"][0]
    assert server["command"] == ["vllm", "serve", "/mnt/pvc/artifacts/ml/model-a"]
    assert server["args"] == [
        "--served-model-name=bot",
        "--port=8000",
        "--tensor-parallel-size=2",
        "--max-model-len=8192",
        "--gpu-memory-utilization=0.9",
        "--enable-prefix-caching",
        "--max-num-seqs=64",
    ]
    assert server["resources"] == {"limits": {"nvidia.com/gpu": 2, "memory": "64Gi"}}


def test_vllm_writes_only_to_tmp_fetches_nothing_and_reports_nothing() -> None:
    env = {var["name"]: var["value"] for var in pod(VLLM)["containers"][0]["env"]}
    caches = [value for name, value in env.items() if name.endswith(("_DIR", "_ROOT", "_HOME")) or name == "HOME"]
    assert len(caches) >= 6
    assert all(path.startswith("/tmp") for path in caches)
    assert (env["HF_HUB_OFFLINE"], env["VLLM_NO_USAGE_STATS"], env["DO_NOT_TRACK"]) == ("1", "1", "1")


def test_what_is_not_said_is_left_to_vllm() -> None:
    bare = pod({"engine": "VLLM", "vllm": {"image": "vllm/vllm-openai:v0.11.0"}})["containers"][0]
    assert bare["args"] == ["--served-model-name=bot", "--port=8000", "--tensor-parallel-size=1"]


def test_a_custom_server_is_told_where_the_model_lies_and_what_it_is_called() -> None:
    server = pod(CUSTOM)["containers"][0]
    assert server["image"] == "registry.example/llama-server:b1234"
    assert "command" not in server
    assert server["args"][:3] == ["--model", "/mnt/pvc/artifacts/ml/model-a/model.gguf", "--alias=bot"]
    assert server["readinessProbe"]["httpGet"] == {"path": "/v1/health", "port": 8000}


def test_what_a_custom_server_says_of_its_environment_stands_alone() -> None:
    env = pod(CUSTOM)["containers"][0]["env"]
    assert [var["value"] for var in env if var["name"] == "HOME"] == ["/tmp/home"]
    assert {"name": "LLAMA_ARG_CTX_SIZE", "value": "4096"} in env


@pytest.mark.parametrize("runtime", [VLLM, CUSTOM], ids=["VLLM", "Custom"])
def test_a_foreign_server_starts_only_behind_the_proof_of_the_models_digests(runtime: Json) -> None:
    verify = pod(runtime)["initContainers"][0]
    assert verify["image"] == "server:1"
    assert verify["command"][-1] == "--verify-only"
    assert verify["volumeMounts"] == pod(runtime)["containers"][0]["volumeMounts"]
    assert "nvidia.com/gpu" not in str(verify["resources"])


def test_serins_own_server_proves_them_itself() -> None:
    assert "initContainers" not in pod(CPU)


@pytest.mark.parametrize("runtime", [CPU, VLLM, CUSTOM], ids=["CPU", "VLLM", "Custom"])
def test_every_engine_is_hardened_and_cannot_write_the_model(runtime: Json) -> None:
    spec = pod(runtime)
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        models = [mount for mount in container["volumeMounts"] if mount["mountPath"].startswith("/mnt/pvc")]
        assert models
        assert all(mount["readOnly"] for mount in models)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize("runtime", [CPU, VLLM, CUSTOM], ids=["CPU", "VLLM", "Custom"])
def test_every_engine_is_scraped_probed_and_drained_alike(runtime: Json) -> None:
    template = deployment(runtime)["spec"]["template"]
    server = template["spec"]["containers"][0]
    assert template["metadata"]["annotations"]["prometheus.io/port"] == "8000"
    assert server["startupProbe"]["periodSeconds"] * server["startupProbe"]["failureThreshold"] == 86400
    assert server["lifecycle"]["preStop"]["sleep"]["seconds"] < template["spec"]["terminationGracePeriodSeconds"]
