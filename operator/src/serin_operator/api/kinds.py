"""The kinds that the operator touches and their REST paths: one table, no discovery at run time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The REST path (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris)."""
        root = f"/api/{self.api_version}" if "/" not in self.api_version else f"/apis/{self.api_version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        tail = "".join(f"/{part}" for part in (name, subresource) if part)
        return f"{root}{scope}/{self.plural}{tail}"


_SERIN = "serin.dev/v1alpha1"
FINE_TUNE_JOB = Kind(_SERIN, "FineTuneJob", "finetunejobs")
EVAL_GATE = Kind(_SERIN, "EvalGate", "evalgates")
CLUSTER_EVAL_POLICY = Kind(_SERIN, "ClusterEvalPolicy", "clusterevalpolicies", namespaced=False)
EVAL_WAIVER = Kind(_SERIN, "EvalWaiver", "evalwaivers", namespaced=False)
MODEL_SERVICE = Kind(_SERIN, "ModelService", "modelservices")
MODEL_REVISION = Kind(_SERIN, "ModelRevision", "modelrevisions")
JOB = Kind("batch/v1", "Job", "jobs")
POD = Kind("v1", "Pod", "pods")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SERVICE = Kind("v1", "Service", "services")
ENDPOINT_SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
NAMESPACE = Kind("v1", "Namespace", "namespaces", namespaced=False)
PVC = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
HTTP_ROUTE = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")
GATEWAY = Kind("gateway.networking.k8s.io/v1", "Gateway", "gateways")
EVENT = Kind("events.k8s.io/v1", "Event", "events")
_ADMISSION = "admissionregistration.k8s.io/v1"
ADMISSION_POLICY = Kind(_ADMISSION, "ValidatingAdmissionPolicy", "validatingadmissionpolicies", namespaced=False)
ADMISSION_BINDING = Kind(
    _ADMISSION, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", namespaced=False
)
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")

KINDS = {
    (kind.api_version, kind.kind): kind
    for kind in (
        FINE_TUNE_JOB, EVAL_GATE, CLUSTER_EVAL_POLICY, EVAL_WAIVER, MODEL_SERVICE, MODEL_REVISION, JOB, POD, CONFIG_MAP, SERVICE,
        ENDPOINT_SLICE, NAMESPACE, PVC, DEPLOYMENT, HTTP_ROUTE, GATEWAY, EVENT, LEASE, ADMISSION_POLICY,
        ADMISSION_BINDING,
    )
}  # fmt: skip
