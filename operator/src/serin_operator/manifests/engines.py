"""The container that serves a model, by engine: Serin's CPU server, vLLM, or any other OpenAI server.

Every engine reads the files of the revision from a read-only volume, and only after their digests were proven: by who fetched
them (`weights.py`); on a claim by the CPU server itself, and for the others by `verifier`. What was evaluated is what is served,
or nothing is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serin_operator.api.v1alpha1 import Custom, Engine, Resources, Runtime, Vllm
from serin_operator.manifests import pods
from serin_operator.manifests.quantities import whole_cores

Json = dict[str, Any]
PORT = 8000
WITH_ADAPTERS = frozenset({Engine.CPU})  # that are told of a base model and an adapter; the others of one folder
DRAIN_SECONDS = 5  # until the Gateway has stopped sending to a pod that goes
STARTUP_PERIOD_SECONDS = 2
STARTUP_TRIES = 86400 // STARTUP_PERIOD_SECONDS  # the longest progressDeadlineSeconds there is
_OURS = ["python", "-m", "serin_server", "--config", f"{pods.CONFIG_DIR}/config.json"]

# vLLM compiles and caches at start; its user has no home of its own. Nothing may be fetched, and nothing is reported.
_VLLM_ENV = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CACHE_ROOT": "/tmp/vllm",
    "XDG_CACHE_HOME": "/tmp/cache",
    "XDG_CONFIG_HOME": "/tmp/config",
    "TRITON_CACHE_DIR": "/tmp/triton",
    "TORCHINDUCTOR_CACHE_DIR": "/tmp/inductor",
    "USER": "serin",
}


@dataclass(frozen=True, slots=True)
class Named:
    """An image, and when it is pulled."""

    image: str
    pull_policy: str


def server(runtime: Runtime, path: str, name: str, ours: Named, mounts: Sequence[Json]) -> Json:
    """The container `server`: `path` is where the model's files are, `name` what requests call it, `ours` Serin's server image."""
    if runtime.vllm is not None:
        special = _vllm(runtime.vllm, path, name)
    elif runtime.custom is not None:
        special = _custom(runtime.custom, path, name)
    else:
        special = _cpu(runtime.resources, ours)
    health = runtime.custom.health_path if runtime.custom is not None else "/health"
    return {
        "name": "server",
        **special,
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "resources": runtime.resources.manifest(),
        "securityContext": pods.CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}},
        "volumeMounts": list(mounts),
        **_probes(health),
    }


def verifier(ours: Named, mounts: Sequence[Json]) -> Json:
    """The init container that ends well only when every file of the model has the digest that was judged."""
    return {
        "name": "verify",
        "image": ours.image,
        "imagePullPolicy": ours.pull_policy,
        "command": [*_OURS, "--verify-only"],
        "env": pods.common_env(),
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": pods.CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": list(mounts),
    }


def threads(resources: Resources) -> int:
    """Whole cores of the limit, else of the request, at least one: more threads than cores only wait for each other."""
    for given in (resources.limits, resources.requests):
        if given and (cpu := given.get("cpu")) is not None:
            return whole_cores(cpu)
    return 1


def _cpu(resources: Resources, ours: Named) -> Json:
    return {
        "image": ours.image,
        "imagePullPolicy": ours.pull_policy,
        "command": _OURS,
        "env": [*pods.common_env(), {"name": "OMP_NUM_THREADS", "value": str(threads(resources))}],
    }


def _vllm(vllm: Vllm, path: str, name: str) -> Json:
    options = {
        "--served-model-name": name,
        "--port": PORT,
        "--tensor-parallel-size": vllm.tensor_parallel_size,
        "--max-model-len": vllm.max_model_len,
        "--gpu-memory-utilization": vllm.gpu_memory_utilization,
    }
    given = [f"{option}={value}" for option, value in options.items() if value is not None]
    return {
        "image": vllm.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["vllm", "serve", path],
        "args": [*given, *vllm.extra_args],
        "env": [*pods.common_env(), *({"name": key, "value": value} for key, value in _VLLM_ENV.items())],
    }


def _custom(custom: Custom, path: str, name: str) -> Json:
    def told(text: str) -> str:
        return text.replace("{{modelPath}}", path).replace("{{modelName}}", name)

    words = {"command": [told(word) for word in custom.command], "args": [told(word) for word in custom.args]}
    own = [{"name": var.name, "value": told(var.value)} for var in custom.env]
    named = {var.name for var in custom.env}
    return {
        "image": custom.image,
        "imagePullPolicy": "IfNotPresent",
        **{key: value for key, value in words.items() if value},
        "env": [*(var for var in pods.common_env() if var["name"] not in named), *own],
    }


def _probes(path: str) -> Json:
    """Loading may take as long as any canary can allow (the loop rejects a late candidate; an edit of its deadline must
    not restart pods that serve). A busy server is not a dead one."""
    health = {"httpGet": {"path": path, "port": PORT}, "timeoutSeconds": 5}
    return {
        "startupProbe": {**health, "periodSeconds": STARTUP_PERIOD_SECONDS, "failureThreshold": STARTUP_TRIES},
        "readinessProbe": {**health, "periodSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**health, "periodSeconds": 10, "failureThreshold": 6},
    }
