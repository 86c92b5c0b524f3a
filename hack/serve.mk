# The CPU server beside `transformers serve`. The peer's packages go into an environment of their own, above the torch environment.

SERVE_ENV := $(SERIN_CACHE)/venvs/serve

$(SERVE_ENV)/.synced: benchmarks/peers/transformers-serve/requirements.txt | $(UV)
	@test -x $(SERIN_CACHE)/venvs/ml/bin/python || (echo "no torch environment: UV_PROJECT_ENVIRONMENT=$(SERIN_CACHE)/venvs/ml uv sync --project images/base --group dev" && false)
	@$(UV) venv -q --clear --python $(SERIN_CACHE)/venvs/ml/bin/python $(SERVE_ENV)
	@$(UV) pip install -q --python $(SERVE_ENV)/bin/python -r $<
	@$(SERIN_CACHE)/venvs/ml/bin/python -c 'import site; print(site.getsitepackages()[0])' > $$($(SERVE_ENV)/bin/python -c 'import site; print(site.getsitepackages()[0])')/torch-environment.pth
	@touch $@

.PHONY: bench-serve
bench-serve: $(SERVE_ENV)/.synced ## requests/s and p95 of the CPU server beside `transformers serve`, to build/bench/serve.json (3 minutes of two cores)
	@python3 benchmarks/serve.py
