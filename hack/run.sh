#!/bin/bash
# Runs the operator on this machine against the current context, as the service account and with the configuration
# shape that it has in the cluster: what is missing in its RBAC shows here as well.
set -euo pipefail
namespace=$1 kubeconfig=$2 python=$3
cd "$(dirname "$0")/.."

# Without replicas: the one in the cluster would hold the Lease.
sed "s/^  replicas: 1$/  replicas: 0/" deploy/serin.yaml | kubectl apply --server-side --force-conflicts -f - >/dev/null

mkdir -p "$(dirname "$kubeconfig")"
(umask 077 && kubectl config view --minify --flatten --raw >"$kubeconfig")
token=$(kubectl -n "$namespace" create token serin --duration=12h)
kubectl config --kubeconfig="$kubeconfig" set-credentials serin --token="$token" >/dev/null
context=$(kubectl config --kubeconfig="$kubeconfig" current-context)
kubectl config --kubeconfig="$kubeconfig" set-context "$context" --user=serin --namespace="$namespace" >/dev/null

echo "running as serviceaccount serin of $namespace; Ctrl-C stops it;" \
  "kubectl -n $namespace scale deployment/serin --replicas=1 gives the work back to the cluster"
KUBECONFIG=$kubeconfig SERIN_CONFIG=hack/dev-operator.yaml POD_NAMESPACE=$namespace \
  exec "$python" -m serin_operator
