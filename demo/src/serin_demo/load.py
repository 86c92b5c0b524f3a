"""The client of the stories: asks questions through the gateway at random moments and writes one JSON line an answer.

Runs alone in a pod, so it uses nothing but Python's standard library. An open loop: slow answers do not slow down the
questions, as with real users. Nothing is retried: a failure that a retry would hide is what the stories look for.
The rate can be changed while it runs (`/tmp/rate`); the file `/tmp/stop` ends it once the last answer is there.
"""

import http.client
import json
import os
import random
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STOP, RATE = Path("/tmp/stop"), Path("/tmp/rate")
MAX_IN_FLIGHT = 64


@dataclass(frozen=True)
class Target:
    """Whom to ask, and how long to wait."""

    address: str
    port: int
    host: str
    model: str
    max_tokens: int
    timeout: float


def ask(target: Target, prompt: str) -> dict[str, Any]:
    """One request, as a record of what the client saw."""
    record: dict[str, Any] = {"at": time.time(), "status": 0, "revision": "", "tokens": 0, "finish": "", "error": ""}
    started = time.monotonic()
    connection = http.client.HTTPConnection(target.address, target.port, timeout=target.timeout)
    wish = {"model": target.model, "prompt": prompt, "max_tokens": target.max_tokens, "temperature": 0}
    try:
        headers = {"Host": target.host, "Content-Type": "application/json"}
        connection.request("POST", "/v1/completions", json.dumps(wish), headers)
        response = connection.getresponse()
        body = response.read()
        record |= {"status": response.status, "revision": response.getheader("x-serin-revision") or ""}
        if response.status == 200:
            record |= read_answer(body)
        else:
            record["error"] = body[:200].decode(errors="replace")
    except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError) as error:
        record["error"] = f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    record["seconds"] = round(time.monotonic() - started, 3)
    return record


def read_answer(body: bytes) -> dict[str, Any]:
    """How long the answer was and why it ended."""
    answer = json.loads(body)
    choice = answer["choices"][0]
    return {"tokens": answer["usage"]["completion_tokens"], "finish": choice["finish_reason"]}


def current_rate(initial: float) -> float:
    try:
        return float(RATE.read_text())
    except (OSError, ValueError):
        return initial


def run(target: Target, prompts: list[str], rate: float, seed: int) -> None:
    """Ask until told to stop; then wait for the answers that are still on their way."""
    dice, printing, room = random.Random(seed), threading.Lock(), threading.BoundedSemaphore(MAX_IN_FLIGHT)
    asking: list[threading.Thread] = []

    def one(prompt: str) -> None:
        record = ask(target, prompt)
        room.release()
        with printing:
            print(json.dumps(record), flush=True)

    due = time.monotonic()
    while not STOP.exists():
        now = time.monotonic()
        if now < due:
            time.sleep(min(due - now, 0.2))
            continue
        due = max(due, now - 1.0) + dice.expovariate(current_rate(rate))
        room.acquire()
        asking = [thread for thread in asking if thread.is_alive()]
        asking.append(threading.Thread(target=one, args=(dice.choice(prompts),)))
        asking[-1].start()
    for thread in asking:
        thread.join()


def main() -> int:
    setting = os.environ
    target = Target(
        address=setting["ADDRESS"],
        port=int(setting["PORT"]),
        host=setting["HOST"],
        model=setting["MODEL"],
        max_tokens=int(setting["MAX_TOKENS"]),
        timeout=float(setting["TIMEOUT_SECONDS"]),
    )
    rows = Path(setting["PROMPTS"]).read_text().splitlines()
    prompts = [json.loads(row)["prompt"] for row in rows]
    run(target, prompts, float(setting["RATE"]), int(setting["SEED"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
