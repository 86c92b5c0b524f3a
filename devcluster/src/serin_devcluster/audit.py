"""What the apiserver writes into its audit log: enough to tell from the outside who did what to Serin's objects, and when."""

from __future__ import annotations

from typing import Any

GROUP = "serin.dev"
BATCH = {"group": "batch", "resources": ["jobs"]}
PODS = {"group": "", "resources": ["pods"]}


def audit_policy() -> dict[str, Any]:
    """Whole objects for our own group, names and times for what the operator touches besides, nothing else."""
    writes = ["create", "update", "patch", "delete", "deletecollection"]
    watched = [
        BATCH,
        {"group": "gateway.networking.k8s.io", "resources": ["httproutes", "gateways"]},
        {"group": "apps", "resources": ["deployments"]},
        {"group": "", "resources": ["services", "configmaps", "events"]},
        {"group": "coordination.k8s.io", "resources": ["leases"]},
    ]
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "omitManagedFields": True,
        "rules": [
            # Whoever starts or removes them: how soon a pod follows its job, and who deleted what.
            {"level": "Metadata", "verbs": ["create", "delete"], "resources": [BATCH, PODS]},
            # Leader leases, heartbeats and other housekeeping of the cluster itself would drown the rest.
            {"level": "None", "users": ["system:apiserver", "system:kube-scheduler", "system:kube-controller-manager"]},
            {"level": "None", "userGroups": ["system:nodes", "system:serviceaccounts:kube-system"]},
            {"level": "RequestResponse", "verbs": writes, "resources": [{"group": GROUP}]},
            {"level": "Metadata", "verbs": writes, "resources": watched},
            {"level": "None"},
        ],
    }
