#!/bin/bash
# All tests in order of cost. A cluster that was up before stays up; one that was booted for the tests goes with them,
# also when they fail or are interrupted. What mostly waits runs beside what mostly computes, with its lines in a file.
set -euo pipefail
cd "$(dirname "$0")/.."
own=${SERIN_CACHE:?}/cluster/admin.kubeconfig
logs=$(mktemp -d)
SECONDS=0

finish() {
  status=$?
  if [[ ${beside:-} ]]; then kill -- "-$beside" 2>/dev/null || true; wait "$beside" 2>/dev/null || true; fi
  if [[ ${booted:-} ]]; then make cluster-down || status=1; fi
  rm -rf "$logs"
  printf '\n[%s] make test ended with %d after %d min\n' "$(date +%H:%M:%S)" "$status" $((SECONDS / 60))
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

step() { printf '\n[%s, %d min] %s\n' "$(date +%H:%M:%S)" $((SECONDS / 60)) "$*"; }

# start NAME COMMAND...: in a process group of its own, so that all of it can be ended.
start() {
  name=$1
  shift
  set -m
  "$@" >"$logs/$name" 2>&1 &
  beside=$!
  set +m
}

await() {
  local status=0
  wait "$beside" || status=$?
  beside=
  return "$status"
}

# join NAME: waits for what was started; its last lines, or all of them when it failed.
join() {
  local status=0
  await || status=$?
  if ((status)); then cat "$logs/$1"; else tail -n 3 "$logs/$1"; fi
  return "$status"
}

if [[ -n ${KUBECONFIG:-}${SERIN_CONTEXT:-} ]]; then
  prepare=(make tools) # the tests of step 3 start an apiserver of their own
else
  [[ -e $own ]] || booted=yes
  prepare=(make cluster-up)
fi

step "1 of 5: format, lint, types, import contracts, unit tests, reports in a browser; the cluster and its images are made meanwhile"
start prepare "${prepare[@]}"
make check
make test-browser
step "2 of 5: the cluster and its images, long the first time (next: a real kube-apiserver)"
tail -f -n +1 --pid="$beside" "$logs/prepare"
await
step "3 of 5: generated files, and against a real kube-apiserver; what needs torch, inside the images, meanwhile (next: faults)"
start images make test-images
make verify test-cluster
join images
step "4 of 5: faults between operator and apiserver, some of each kind (all of them: make test-faults)"
make test-faults-quick
step "5 of 5: end to end, on the cluster"
make test-e2e
step "all passed"
