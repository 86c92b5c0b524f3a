"""The chart's alerts, read by a real Prometheus that scrapes the operator's own metrics."""

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import start_http_server
from serin_devcluster.apiserver import ApiServer
from serin_devcluster.gobuild import find_program
from serin_operator import telemetry
from support.on_a_cluster import SLOW
from support.real_prometheus import real_prometheus

ROOT = Path(__file__).parents[2]


def rule(*flags: str) -> list[dict[str, Any]]:
    helm = find_program(ApiServer().paths, "helm")
    command = [helm, "template", "serin", ROOT / "charts/serin", "--kube-version", "1.34", *flags]
    objects = yaml.safe_load_all(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return [one for one in objects if one and one["kind"] == "PrometheusRule"]


def at_once(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the minutes for which something must last."""
    return [{**group, "interval": "1s", "rules": [{**one, "for": "0s"} for one in group["rules"]]} for group in groups]


@pytest.fixture(scope="module")
def firing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """What fires while a stable breaks its SLO, changes are not seen, and nobody leads; by name."""
    folder = tmp_path_factory.mktemp("alerts")
    (made,) = rule("--set", "alerts.enabled=true")
    (folder / "rules.yml").write_text(json.dumps({"groups": at_once(made["spec"]["groups"])}))
    telemetry.tell("ml", "support-bot", [("serin_slo_breached", "latency", 1.0), ("serin_slo_breached", "errors", 0.0)])
    telemetry.WATCH_AGE.labels("FineTuneJob").set(75)
    telemetry.LEADER.set(0)
    server, _ = start_http_server(0, addr="127.0.0.1")
    # As a scrape of pods has it: the target's own namespace and service hide those of the metric.
    target = {
        "targets": [f"127.0.0.1:{server.server_port}"],
        "labels": {"namespace": "serin-system", "service": "serin"},
    }
    jobs = [{"job_name": "serin", "static_configs": [target]}]
    config = {"global": {"scrape_interval": "1s"}, "rule_files": ["rules.yml"], "scrape_configs": jobs}
    try:
        with real_prometheus(folder, config) as url:
            yield _all_three(url)
    finally:
        server.shutdown()
        server.server_close()
        telemetry.tell("ml", "support-bot", [])
        telemetry.WATCH_AGE.clear()


def _all_three(url: str) -> dict[str, dict[str, Any]]:
    deadline = time.monotonic() + SLOW
    while True:
        with urllib.request.urlopen(f"{url}/api/v1/alerts", timeout=5) as answer:
            found = {one["labels"]["alertname"]: one for one in json.load(answer)["data"]["alerts"]}
        if len(found) == 3:
            return found
        assert time.monotonic() < deadline, f"only {sorted(found)} fire"
        time.sleep(0.5)


def test_a_breach_after_the_bake_names_the_service_and_not_the_target(firing: dict[str, dict[str, Any]]) -> None:
    told = firing["SerinSloBreached"]["annotations"]
    assert told["summary"] == "The model that ml/support-bot serves breaks its SLO latency"
    assert "kubectl describe modelservice support-bot -n ml" in told["description"]


def test_an_operator_that_sees_nothing_or_is_not_there_is_told(firing: dict[str, dict[str, Any]]) -> None:
    assert firing["SerinChangesUnseen"]["labels"]["severity"] == "warning"
    assert firing["SerinNoLeader"]["labels"]["severity"] == "critical"


def test_there_are_none_unless_they_are_asked_for() -> None:
    assert rule() == []


def test_labels_by_which_a_prometheus_selects_rules_can_be_given() -> None:
    (made,) = rule("--set", "alerts.enabled=true", "--set", "alerts.labels.release=stack")
    assert made["metadata"]["labels"]["release"] == "stack"
