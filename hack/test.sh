#!/bin/bash
# All tests in order of cost. A cluster that was up before stays up; one that was booted for the tests goes with them,
# also when they fail or are interrupted.
set -euo pipefail
cd "$(dirname "$0")/.."
own=${SERIN_CACHE:?}/cluster/admin.kubeconfig

finish() {
  status=$?
  if [[ ${booted:-} ]]; then make cluster-down || status=1; fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

step() { printf '\n[%s] %s\n' "$(date +%H:%M:%S)" "$*"; }

step "1 of 4: format, lint, types, import contracts, unit tests, generated files (next: a real kube-apiserver)"
make check
make tools
make verify
step "2 of 4: against a real kube-apiserver (next: inside the images)"
make test-cluster
if [[ -z ${KUBECONFIG:-} && -z ${SERIN_CONTEXT:-} && ! -e $own ]]; then booted=yes; fi
[[ -n ${KUBECONFIG:-}${SERIN_CONTEXT:-} ]] || make cluster-up
step "3 of 4: what needs torch, inside the images (next: end to end)"
make test-images
step "4 of 4: end to end, on the cluster"
make test-e2e
step "all passed"
