"""Starting only with the right model, refusing what cannot be answered soon, and leaving without dropping anything."""

import json
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx


def babble(client: httpx.Client, tokens: int, **changes: Any) -> httpx.Response:
    body = {"model": "support-bot", "prompt": "pod", "max_tokens": tokens, **changes}
    return client.post("/v1/completions", json=body, timeout=120)


def eventually_unhealthy(client: httpx.Client) -> httpx.Response:
    """The first answer of /health that is not 200; a signal needs a moment to arrive."""
    end = time.monotonic() + 1.5
    while (response := client.get("/health")).status_code == 200:
        assert time.monotonic() < end
    return response


def eventually_taken(server: Any) -> float:
    """The share of the cache that is taken, once any is: the first bytes leave before the first token is computed."""
    end = time.monotonic() + 60
    while not (taken := server.metric("vllm:kv_cache_usage_perc")):
        assert time.monotonic() < end
    return taken


def test_a_touched_model_is_not_served(start: Any, models: Any) -> None:
    touched = models.root / "artifacts" / "touched"
    shutil.copytree(models.root / "artifacts" / "babbler", touched)
    with (touched / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    models.digests["touched"] = models.digests["babbler"]

    server = start("touched")

    assert server.ended() == 65
    told = json.loads((server.log.parent / "termination-log").read_text())
    assert (told["stage"], told["reason"]) == ("Serve", "ModelDamaged")
    assert "model.safetensors" in told["message"]


def test_a_full_queue_answers_429_and_says_when_to_come_again(babbler: Any) -> None:
    with ThreadPoolExecutor(40) as pool:
        responses = list(pool.map(lambda _: babble(babbler.client, 100), range(40)))

    refused = [response for response in responses if response.status_code == 429]
    assert {response.status_code for response in responses} == {200, 429}
    assert len(refused) < 40 - 16
    assert all(int(response.headers["retry-after"]) >= 1 for response in refused)
    assert refused[0].json()["error"]["code"] == "queue_full"
    assert babble(babbler.client, 2).status_code == 200


def test_a_client_that_goes_away_takes_its_request_with_it(babbler: Any) -> None:
    before = babbler.metric("vllm:request_success_total", finished_reason="abort")
    body = {"model": "support-bot", "prompt": "pod", "max_tokens": 1000, "stream": True}
    with babbler.client.stream("POST", "/v1/completions", json=body) as response:
        next(response.iter_bytes())
        assert 0 < eventually_taken(babbler) < 1 / 16
    with httpx.Client(base_url=babbler.url) as impatient, suppress(httpx.ReadTimeout):
        impatient.post("/v1/completions", json={**body, "stream": False}, timeout=0.5)

    def both_are_gone() -> bool:
        aborted = babbler.metric("vllm:request_success_total", finished_reason="abort") - before
        return aborted >= 2 and babbler.metric("vllm:num_requests_running") == 0

    end = time.monotonic() + 120
    while not both_are_gone():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_sigterm_drains_without_a_failed_request(babbler: Any) -> None:
    """Clients come for a while after SIGTERM, as they do until every gateway knows that the pod leaves."""
    leaving = threading.Event()
    stop_at = [float("inf")]
    failures: list[str] = []
    answered = [0]

    def keep_asking() -> None:
        with httpx.Client(base_url=babbler.url, timeout=60) as client:
            while time.monotonic() < stop_at[0]:
                try:
                    response = babble(client, 4)
                    if response.status_code not in (200, 429):
                        failures.append(response.text)
                    answered[0] += 1
                except httpx.TransportError as error:
                    failures.append(repr(error))

    def ask_for_long() -> httpx.Response:
        leaving.wait()
        time.sleep(1.0)
        with httpx.Client(base_url=babbler.url) as client:
            while (response := babble(client, 900)).status_code == 429:
                time.sleep(0.05)
            return response

    with ThreadPoolExecutor(5) as pool:
        askers = [pool.submit(keep_asking) for _ in range(4)]
        long = pool.submit(ask_for_long)
        time.sleep(0.5)
        before = answered[0]
        babbler.process.send_signal(signal.SIGTERM)
        stop_at[0] = time.monotonic() + 2.0
        leaving.set()
        health = eventually_unhealthy(babbler.client)
        for asker in askers:
            asker.result()
        answer = long.result()

    assert babbler.ended() == 0, babbler.log.read_text()
    assert failures == []
    assert answered[0] > before
    assert (health.status_code, health.headers["connection"]) == (503, "close")
    assert answer.json()["usage"]["completion_tokens"] == 900
    assert "everything is answered" in babbler.log.read_text()
