# Queues, on the real Kueue: tests/kueue. It is no part of `make test`: compiling Kueue alone takes minutes.

.PHONY: kueue
kueue: ## build Kueue from its Go module (cached); only `make test-kueue` needs it
	@$(DEVCLUSTER) tools kueue > /dev/null

.PHONY: test-kueue
test-kueue: venv tools kueue ## queues on the real Kueue: waiting, admission, places
	@$(PY) -m pytest -q $(RERUNS) tests/kueue
