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

step "1 of 6: format, lint, types, import contracts, unit tests (next: the cluster, which takes long the first time)"
make check
step "2 of 6: the cluster and its images (next: a real kube-apiserver)"
if [[ -n ${KUBECONFIG:-}${SERIN_CONTEXT:-} ]]; then
  make tools  # the tests of step 3 start an apiserver of their own
else
  [[ -e $own ]] || booted=yes
  make cluster-up
fi
step "3 of 6: generated files, and against a real kube-apiserver (next: faults)"
make verify test-cluster
step "4 of 6: faults between operator and apiserver, some of each kind (all of them: make test-faults)"
make test-faults-quick
step "5 of 6: what needs torch, inside the images (next: end to end)"
make test-images
step "6 of 6: end to end, on the cluster"
make test-e2e
step "all passed"
