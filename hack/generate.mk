# Generated parts that are committed, and the operator on the developer's machine.

SERIN_CONFIG ?= hack/dev-operator.yaml

.PHONY: generate
generate: venv ## write the CRDs, the chart's copies and deploy/serin.yaml anew from their sources
	@PYTHONPATH=devcluster/src $(PY) hack/generate.py

.PHONY: verify
verify: venv ## fail when a generated file is not current, naming it
	@PYTHONPATH=devcluster/src $(PY) hack/generate.py --check

.PHONY: run
run: venv ## the operator in the foreground on this machine, against the current kubectl context
	@PYTHONPATH=devcluster/src $(PY) hack/run.py $(SERIN_CONFIG)
