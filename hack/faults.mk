# Faults between operator and apiserver: tests/faults, told in docs/reliability.md.

# Without hypothesis' plugin, which nothing here needs: it imports all of hypothesis at the very end, and Python 3.11 cannot
# compile in one thread while another one formats a traceback (gh-106905). In three processes, as tests/faults/conftest.py says.
FAULTS = $(PY) -m pytest -q -p no:hypothesispytest -p no:rerunfailures -n 3 tests/faults

.PHONY: test-faults
test-faults: venv tools ## every fault at every write of every story; writes build/faults.json and docs/reliability.md
	@rm -f build/faults.json build/faults-tests.json; status=0; $(FAULTS) --sweep=full || status=$$?; \
	  PYTHONPATH=tests $(PY) -m faults.harness.report; exit $$status

.PHONY: test-faults-quick
test-faults-quick: venv tools ## the same with some points of each story, picked by --seed
	@rm -f build/faults-part*.json; status=0; $(FAULTS) --sweep=part || status=$$?; \
	  PYTHONPATH=tests $(PY) -m faults.harness.report part; exit $$status
