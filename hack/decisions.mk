# How good and how fast the decisions of canaries are, beside peers. bench-decisions: seeded simulations, no cluster, some 5
# minutes of one core. bench-rollback: the real controllers on a real control plane.

.PHONY: bench-decisions
bench-decisions: venv ## false rollbacks and detection times, beside Argo Rollouts, Flagger, Kayenta: build/bench/decisions.*
	@OMP_NUM_THREADS=1 $(PY) benchmarks/decisions.py

.PHONY: bench-rollback
bench-rollback: venv tools ## seconds from a breach to weight 0, beside Argo Rollouts and Flagger: build/bench/rollback.json (half an hour; builds the peers once)
	@PYTHONPATH=tests:devcluster/src:benchmarks $(PY) benchmarks/rollback.py
