"""Requests per second and p95 of Serin's CPU server beside `transformers serve`: one model, one machine, one run.

    python benchmarks/serve.py        writes build/bench/serve.json and prints it

Both serve the same float32 files with one thread of torch, and answer the same greedy completions of prompts of several lengths over
kept connections. Clients wait for an answer before they ask again; a load is a number of clients. The peer runs twice, as it is
by default and with `--continuous-batching`, and of these the better counts, load by load. All three are started; they take
turns at each load, and those whose turn it is not are stopped (SIGSTOP), so that what else the machine does meets them
alike. Medians of the rounds. What is compared:

- `requestsRatio`: requests per second of ours to theirs; the worst of the loads.
- `p95Ratio`: the 95th percentile of a request's time, ours to theirs; the worst of the loads.
- `identical`: answers that are the same text, of those asked of both.

Needs the torch environment and the peer's packages, which `make bench-serve` puts in an environment of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = Path(os.environ.get("SERIN_CACHE", Path.home() / ".cache" / "serin")) / "venvs"
LOADS = (1, 4, 16)
TOKENS = 32
BATCHED = (
    "--continuous-batching",
    "--cb-num-blocks",
    "512",
    "--cb-max-batch-tokens",
    "1024",
)  # by default it takes gigabytes
START_SECONDS = 240

MODEL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from support.tiny_model import write_model
print(write_model(Path(sys.argv[2]), context=1024, chat=True))
"""


@dataclass(frozen=True)
class Peer:
    """A server, how it is started, and what it calls the model."""

    name: str
    command: list[str]
    environment: dict[str, str]
    port: int
    model: str


@dataclass(frozen=True)
class Run:
    """What one load on one server gave."""

    rate: float
    p95: float
    texts: tuple[str, ...]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench" / "serve.json")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--requests", type=int, default=96, help="in each load and round")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # who ends this ends the servers too
    work = Path(tempfile.mkdtemp(prefix="serve-"))
    try:
        found = compared(work, options.rounds, options.requests)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 0 if found["identical"] == 1.0 else 1


def compared(work: Path, rounds: int, requests: int) -> dict[str, Any]:
    folder = work / "pvc" / "artifacts" / "tiny"
    made = [ENVIRONMENTS / "ml" / "bin" / "python", "-c", MODEL, ROOT / "tests", folder]
    digest = subprocess.run(made, check=True, capture_output=True, text=True).stdout.split()[-1]
    peers = [ours(work, digest), theirs(folder), theirs(folder, *BATCHED)]
    runs: dict[str, dict[int, list[Run]]] = {peer.name: {load: [] for load in LOADS} for peer in peers}
    with ExitStack() as servers:
        turns = {peer.name: servers.enter_context(turn_of(peer, work)) for peer in peers}
        for number in range(rounds):
            for load in LOADS:
                for peer in peers if number % 2 == 0 else reversed(peers):
                    with turns[peer.name]():
                        runs[peer.name][load].append(asyncio.run(load_on(peer, load, requests)))
    return summary({name: {load: medians(several) for load, several in loads.items()} for name, loads in runs.items()})


def summary(runs: dict[str, dict[int, Run]]) -> dict[str, Any]:
    """The figures, from the medians by server and load."""
    mine = runs.pop("serin")
    rows = []
    for load, run in mine.items():
        rate = max(other[load].rate for other in runs.values())
        p95 = min(other[load].p95 for other in runs.values())
        told = {name: {"requestsPerSecond": round(other[load].rate, 2), "p95Ms": round(other[load].p95 * 1000, 1)}
                for name, other in {"serin": mine, **runs}.items()}  # fmt: skip
        rows.append(
            {
                "clients": load,
                "requestsRatio": round(run.rate / rate, 2),
                "p95Ratio": round(run.p95 / p95, 2),
                **told,
            }
        )
    pairs = [
        pair
        for load, run in mine.items()
        for other in runs.values()
        for pair in zip(run.texts, other[load].texts, strict=True)
    ]
    return {
        "requestsRatio": min(row["requestsRatio"] for row in rows),
        "p95Ratio": max(row["p95Ratio"] for row in rows),
        "identical": round(sum(one == another for one, another in pairs) / len(pairs), 4),
        "tokensPerAnswer": TOKENS,
        "loads": rows,
    }


def medians(several: list[Run]) -> Run:
    """Of the rounds of one load."""
    rate, p95 = (statistics.median(getattr(run, name) for run in several) for name in ("rate", "p95"))
    return Run(rate, p95, several[0].texts)


# --- the servers --------------------------------------------------------------------------------------------------


def ours(work: Path, digest: str) -> Peer:
    port = free_port()
    config = {
        "stage": "Serve",
        "key": "0",
        "job": {"namespace": "ml", "name": "bench"},
        "output": "",
        "model": {"uri": "pvc://artifacts/tiny", "digest": digest, "name": "bench"},
        "revision": "bench-0",
        "port": port,
        "maxNewTokens": 256,
        "maxQueue": 64,
    }
    file = work / "config.json"
    file.write_text(json.dumps(config))
    environment = {
        "PYTHONPATH": str(ROOT / "server-image" / "src"),
        "SERIN_PVC_ROOT": str(work / "pvc"),
        "SERIN_RESULT_PATH": str(work / "result"),
        "SERIN_DRAIN_SECONDS": "0",
    }
    python = str(ENVIRONMENTS / "ml" / "bin" / "python")
    return Peer("serin", [python, "-m", "serin_server", "--config", str(file)], environment, port, "bench")


def theirs(folder: Path, *options: str) -> Peer:
    port = free_port()
    start = "from transformers.cli.transformers import main; main()"
    python = str(ENVIRONMENTS / "serve" / "bin" / "python")
    command = [python, "-c", start, "serve", str(folder), "--port", str(port), "--device", "cpu", *options]
    name = " ".join(["transformers serve", *options[:1]])
    return Peer(name, command, {"HF_HUB_OFFLINE": "1"}, port, str(folder))


Turn = Callable[[], AbstractContextManager[None]]


@contextmanager
def turn_of(peer: Peer, work: Path) -> Iterator[Turn]:
    """The server, warm and stopped; it runs in the blocks that what is yielded begins."""
    with started(peer, work) as process:
        asyncio.run(load_on(peer, 4, 12))  # what is compiled, cached and imported late

        @contextmanager
        def turn() -> Iterator[None]:
            process.send_signal(signal.SIGCONT)
            try:
                asyncio.run(load_on(peer, 1, 2))  # what its caches lost meanwhile
                yield
            finally:
                process.send_signal(signal.SIGSTOP)

        process.send_signal(signal.SIGSTOP)
        try:
            yield turn
        finally:
            process.send_signal(signal.SIGCONT)


@contextmanager
def started(peer: Peer, work: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The server, for as long as the block lasts."""
    log = work / f"log-{peer.port}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", **peer.environment}
    with log.open("wb") as file:
        process = subprocess.Popen(peer.command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not healthy(peer):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{peer.name} does not start:\n{log.read_text()[-4000:]}")
            time.sleep(0.5)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def healthy(peer: Peer) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{peer.port}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


# --- the clients --------------------------------------------------------------------------------------------------


async def load_on(peer: Peer, clients: int, requests: int) -> Run:
    """So many clients share so many requests; the servers had their warm-up."""
    waiting = iter(range(requests))
    took: dict[int, float] = {}
    texts: dict[int, str] = {}

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", peer.port)
        for number in waiting:
            began = time.perf_counter()
            document = await asked(reader, writer, body_of(peer, number))
            took[number] = time.perf_counter() - began
            texts[number] = document["choices"][0]["text"]
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds = time.perf_counter() - began
    ordered = sorted(took.values())
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return Run(requests / seconds, p95, tuple(texts[number] for number in range(requests)))


def body_of(peer: Peer, number: int) -> bytes:
    """Prompts of three lengths, all different."""
    prompt = f"What is the field number {number} of Deployment? " * (1, 3, 9)[number % 3]
    asked = {"model": peer.model, "prompt": prompt, "max_tokens": TOKENS, "temperature": 0.0}
    return json.dumps(asked).encode()


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> dict[str, Any]:
    """One request over a connection that stays open; the document of the answer."""
    head = f"POST /v1/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(answer.split("content-length:")[1].split("\r\n")[0])
    content = await reader.readexactly(length)
    if not answer.startswith("http/1.1 200"):
        raise RuntimeError(f"{answer.splitlines()[0]}: {content[:500].decode()}")
    return json.loads(content)


if __name__ == "__main__":
    sys.exit(main())
