"""Sizes, names and clocks of the demo, in one place. How the models are trained stands in `examples/quickstart/`."""

from dataclasses import dataclass

NAMESPACE = "demo"
SERVICE = "api-helper"
SYSTEM_NAMESPACE = "serin-system"
GATEWAY_SERVICE = "envoy.projectcontour"
PROMETHEUS = ("monitoring", "prometheus", 9090)

# Requests a second: few while pods train on the same cores, more while a canary has to be judged.
QUIET_RATE = 0.4
CANARY_RATE = 4.0
CLIENT_TIMEOUT_SECONDS = 60
CLIENT_MAX_TOKENS = 128

# What a client sees lags behind the route by as long as the gateway takes to reprogram its proxies.
SETTLE_SECONDS = 3.0
# The client keeps asking for this long after the last change of weight.
AFTERMATH_SECONDS = 8.0
# Chance that a correct share is called wrong, in each step that is compared.
SHARE_SIGNIFICANCE = 0.0005

# What the first model is made of: 2 million parameters, a vocabulary learned from the same words that it will read.
SCRATCH_ARGUMENTS = [
    *("--corpus", "/mnt/pvc/datasets/words.jsonl"),
    *("--out", "/mnt/pvc/models/scratch"),
    *("--vocab-size", "2048", "--hidden", "192", "--layers", "4", "--max-positions", "512"),
]

POLL_SECONDS = 1.0
PREPARE_RETRY_SECONDS = 10
# Nobody should sit before a silent screen for longer.
HEARTBEAT_SECONDS = 15.0
NUMBERS_SECONDS = 10.0
STORY_TIMEOUT_SECONDS = 1200.0
POD_TIMEOUT_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Story:
    """One of the stories: the file that is applied, the job in it, and how it has to end."""

    name: str
    title: str
    file: str
    job: str
    outcome: str


BASE = Story("base", "The first model", "30-base.yaml", "base", "Promoted")
GOOD = Story("good-model", "A good model", "40-good.yaml", "good", "Promoted")
BAD = Story("bad-training", "Bad training", "50-bad-data.yaml", "bad-data", "Rejected")
CITIZEN = Story("bad-citizen", "Good scores, bad citizen", "60-never-stops.yaml", "never-stops", "RolledBack")
STORIES = (GOOD, BAD, CITIZEN)
