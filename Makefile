# Serin's two commands are `make demo` and `make test`; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export SERIN_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/serin
# Python compiles each module once, not in each of the hundreds of processes that tests start; outside the tree.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX ?= $(SERIN_CACHE)/pycache
UV_VERSION := 0.13.9
UV_HOME := $(SERIN_CACHE)/tools/uv-$(UV_VERSION)
UV := $(UV_HOME)/bin/uv
VENV := .venv
PY := $(VENV)/bin/python
# Tests of real processes wait for what others do, on whatever machine there is. One that fails is tried once more and named
# at the end (R), so that it is mended without stopping everybody. Unit tests and faults have one try.
RERUNS := --reruns 1 --reruns-delay 2 -raR
DEVCLUSTER := PYTHONPATH=devcluster/src python3 -m serin_devcluster

include devcluster/cluster.mk
include demo/demo.mk
-include $(wildcard hack/*.mk)

.PHONY: help
help: ## this list
	@grep -hE '^[a-z][a-z0-9-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

$(UV):
	@python3 -c 'import ensurepip, venv' 2>/dev/null || (apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv)
	@rm -rf $(UV_HOME).new && python3 -m venv $(UV_HOME).new && $(UV_HOME).new/bin/python -m pip install -q uv==$(UV_VERSION)
	@rm -rf $(UV_HOME) && mkdir -p $(UV_HOME)/bin && cp $(UV_HOME).new/bin/uv $(UV_HOME)/bin/uv.new && mv $(UV_HOME)/bin/uv.new $(UV) && rm -rf $(UV_HOME).new

$(VENV)/.synced: pyproject.toml uv.lock | $(UV)
	@$(UV) sync -q --frozen --python "$$(command -v python3)" && touch $@

.PHONY: venv
venv: $(VENV)/.synced ## the developer's virtual environment, from the lock

.PHONY: check
check: venv ## format, lint, types, import contracts and unit tests: five to nine minutes on two cores
	@$(VENV)/bin/ruff format --check . && $(VENV)/bin/ruff check .
	@$(VENV)/bin/pyright
	@$(VENV)/bin/lint-imports
	@$(PY) -m pytest -q -p no:rerunfailures -n 2 --dist worksteal tests/unit

.PHONY: format
format: venv ## rewrite the code in the project's format
	@$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix .

.PHONY: test
test: venv ## all tests: unit, against a real kube-apiserver, inside the images, and end to end
	@hack/test.sh

.PHONY: test-cluster
test-cluster: venv tools ## against a real etcd, kube-apiserver and Job controller
	@$(PY) -m pytest -q $(RERUNS) tests/cluster

.PHONY: bench
bench: venv tools ## the figures of benchmarks/, written to build/bench and printed
	@KUBECONFIG=$${KUBECONFIG:-$(SERIN_CACHE)/cluster/admin.kubeconfig} PATH="$$(dirname $(SERIN_CACHE)/bin/kubernetes-*/kubectl | head -1):$$PATH" \
	  PYTHONPATH=tests:devcluster/src $(PY) benchmarks/operator_cost.py

.PHONY: bench-gates
bench-gates: venv ## how often 10,000 simulated gates are wrong, against what they promise
	@PYTHONPATH=tests:evaluator-image/src $(PY) benchmarks/gate_errors.py

.PHONY: bench-consolidate
bench-consolidate: ## memory and time of consolidation beside DeepSpeed's converter, to build/bench/consolidate.json (needs 12 GB of memory and of disk)
	@test -x $(SERIN_CACHE)/venvs/ml/bin/python || (echo "no torch environment: UV_PROJECT_ENVIRONMENT=$(SERIN_CACHE)/venvs/ml uv sync --project images/base --group dev" && false)
	@$(SERIN_CACHE)/venvs/ml/bin/python benchmarks/consolidate.py

.PHONY: bench-evaluate
bench-evaluate: $(SERIN_CACHE)/venvs/lm-eval/.synced ## the evaluator beside lm-evaluation-harness, to build/bench/evaluate.json (two minutes of two cores)
	@OMP_WAIT_POLICY=PASSIVE PYTHONPATH=evaluator-image/src:tests $(SERIN_CACHE)/venvs/lm-eval/bin/python benchmarks/evaluate.py # as in the image

# Above the torch environment, and not in it: what it needs is in no image, and must not make a test pass by being there.
$(SERIN_CACHE)/venvs/lm-eval/.synced: benchmarks/evaluate.requirements.txt | $(UV)
	@test -x $(SERIN_CACHE)/venvs/ml/bin/python || (echo "no torch environment: UV_PROJECT_ENVIRONMENT=$(SERIN_CACHE)/venvs/ml uv sync --project images/base --group dev" && false)
	@$(UV) venv -q --clear --python $(SERIN_CACHE)/venvs/ml/bin/python $(@D)
	@$(UV) pip install -q --no-deps --python $(@D)/bin/python -r $<
	@$(SERIN_CACHE)/venvs/ml/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$(echo $(@D)/lib/python3.*/site-packages)/torch-environment.pth"
	@touch $@

TRL := $(SERIN_CACHE)/venvs/trl-1.16.0

.PHONY: bench-train
bench-train: | $(UV) ## tokens/s beside TRL and a plain Trainer, seconds to resume and to save, to build/bench/train.json
	@test -x $(SERIN_CACHE)/venvs/ml/bin/python || (echo "no torch environment: UV_PROJECT_ENVIRONMENT=$(SERIN_CACHE)/venvs/ml uv sync --project images/base --group dev" && false)
	@test -d $(TRL) || ($(UV) pip install -q --python $(SERIN_CACHE)/venvs/ml/bin/python --no-deps --target $(TRL).new -r benchmarks/train-peers.txt && mv $(TRL).new $(TRL))
	@$(SERIN_CACHE)/venvs/ml/bin/python benchmarks/train.py --peers $(TRL)

.PHONY: test-images
test-images: images ## what needs torch, inside the very images that pods get
	@$(DEVCLUSTER).in_image trainer -- /checkout/tests/images/trainer -q $(RERUNS)
	@$(DEVCLUSTER).in_image evaluator -- /checkout/tests/images/evaluator -q $(RERUNS)
	@$(DEVCLUSTER).in_image server -- /checkout/tests/images/server -q $(RERUNS)
