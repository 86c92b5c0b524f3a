# How good the decisions of canaries are: seeded simulations, no cluster. The full run takes some 5 minutes of one core.

.PHONY: bench-decisions
bench-decisions: venv ## false rollbacks and detection times, beside Argo Rollouts, Flagger, Kayenta: build/bench/decisions.*
	@OMP_NUM_THREADS=1 $(PY) benchmarks/decisions.py
