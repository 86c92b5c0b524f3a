# The reports in a real browser. It is found, or installed where that is allowed; without one the tests fail, they are not skipped.

.PHONY: browser
browser:
	@test -n "$(SERIN_BROWSER)" || command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null \
	  || { test "$$(id -u)" = 0 || { echo "there is no Chromium here: install one, or name it in SERIN_BROWSER"; exit 1; }; \
	    apt-get -o DPkg::Lock::Timeout=600 update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends chromium fonts-dejavu-core; }

.PHONY: test-browser
test-browser: venv browser ## the reports as Chromium lays them out; pictures in build/browser (ten seconds, and a minute to install one)
	@$(PY) -m pytest -q $(RERUNS) tests/browser
