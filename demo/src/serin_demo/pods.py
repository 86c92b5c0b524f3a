"""The demo's own pods: one that carries files onto the volumes, one that makes the first model, one that is the client.

Pure manifests, as restricted as those of the operator: the demo's namespace enforces PodSecurity `restricted`.
"""

from typing import Any

Object = dict[str, Any]
LOADER, SCRATCH, CLIENT = "loader", "scratch-model", "client"
_HARDENED: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_IDENTITY: Object = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "fsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def namespace(name: str) -> Object:
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "serin.dev/demo": "true"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def loader(image: str, claims: tuple[str, ...]) -> Object:
    """Sleeps with the volumes mounted, so that files can be streamed onto them."""
    command = ["python3", "-c", "import signal; signal.sigwait([signal.SIGTERM])"]
    return _pod(LOADER, image, command, claims)


def scratch(image: str, arguments: list[str]) -> Object:
    """Makes a tokenizer and a small model with random weights on the `models` volume."""
    command = ["python", "-m", "serin_trainer.scratch", *arguments]
    pod = _pod(SCRATCH, image, command, claims=("datasets", "models"))
    template = {"metadata": {}, "spec": pod["spec"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": SCRATCH},
        "spec": {"backoffLimit": 2, "template": template},
    }


def client_script(source: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CLIENT},
        "data": {"load.py": source},
    }


def client(image: str, name: str, settings: dict[str, str]) -> Object:
    """The load generator of one story."""
    pod = _pod(name, image, ["python3", "/client/load.py"], claims=("datasets",), read_only=True)
    container = pod["spec"]["containers"][0]
    container["env"] = [{"name": key, "value": value} for key, value in settings.items()]
    container["volumeMounts"].append({"name": "script", "mountPath": "/client", "readOnly": True})
    pod["spec"]["volumes"].append({"name": "script", "configMap": {"name": CLIENT}})
    return pod


def _pod(name: str, image: str, command: list[str], claims: tuple[str, ...], read_only: bool = False) -> Object:
    mounts: list[Object] = [{"name": "tmp", "mountPath": "/tmp"}]
    volumes: list[Object] = [{"name": "tmp", "emptyDir": {}}]
    for claim in claims:
        mounts.append({"name": claim, "mountPath": f"/mnt/pvc/{claim}", "readOnly": read_only})
        volumes.append({"name": claim, "persistentVolumeClaim": {"claimName": claim}})
    container: Object = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "securityContext": _HARDENED,
        "volumeMounts": mounts,
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
    }
    spec: Object = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": _IDENTITY,
        "containers": [container],
        "volumes": volumes,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
