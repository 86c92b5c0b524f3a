# The demo and the tests that play it. KUBECONFIG=<file> or SERIN_CONTEXT=<context> names a cluster; without them the
# repo's own is booted.
DEMO := PYTHONPATH=demo/src:devcluster/src
STORIES := $(PY) -m pytest -s $(RERUNS) --only-rerun AssertionError # a play that broke off is not played again for each of its tests

.PHONY: demo
demo: venv ## boot a cluster, install Serin, play the three stories, print the table
	@$(DEMO) $(PY) -m serin_demo

.PHONY: test-e2e
test-e2e: venv ## the stories, bad input, buckets and faults against a running cluster
	@$(DEVCLUSTER) tools versitygw > /dev/null # an S3 server that one of them runs in a pod
	@$(DEMO) $(STORIES) tests/e2e

.PHONY: test-training-faults
test-training-faults: venv ## all faults of training on a running cluster: processes, pods, node, memory, disk (root, its own node)
	@$(DEMO) $(STORIES) tests/e2e/test_6_training_faults.py --training-faults
