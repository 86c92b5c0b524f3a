"""Training's speed beside TRL and a plain Trainer, and what a death and a save cost, all in one run.

    python benchmarks/train.py        writes build/bench/train.json and prints it

The three train the same small Llama on the same chats, whose lengths are log-normal as people's are, with the same batch,
rate and number of threads, one process each, in turns. Tokens are those of rows: padding does not count. The time is from
the beginning of training to the end of its last step, as the Trainer that is in all three tells it; what is before (imports,
tokenizing, packing) and after (saving) is not in it.

- `vsTrl`: Serin's trainer, as its pod runs it, to TRL's SFTTrainer with packing. Median of the rounds' ratios.
- `vsUnpacked`: the same to transformers' Trainer, rows in random order and padded to the longest of their batch.
- `secondsToResume`: from the kill -9 of one of two processes to the end of the first optimiser step of the next attempt, which
  begins as soon as torchrun has ended; what the operator and the kubelet take in between is not in it.
- `checkpointStallSeconds`: how long training stands still for a save, hashes and fsync included.

TRL is a benchmark's dependency alone: `make bench-train` puts it into a folder of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "trainer-image" / "src"
WORDS = [
    "pod",
    "node",
    "job",
    "volume",
    "claim",
    "image",
    "label",
    "port",
    "route",
    "quota",
    "lease",
    "event",
    "mount",
    "probe",
    "queue",
    "score",
    "canary",
    "weight",
]
MODEL = ["--vocab-size", "1024", "--hidden", "128", "--layers", "4", "--heads", "4", "--max-positions", "512"]
LONGEST = 256
BATCH = 4

PEERS = ROOT / "benchmarks" / "train_peers.py"


class Bench:
    """A folder that stands for the claims, and what runs on it."""

    def __init__(self, root: Path, rows: int, peers: Path) -> None:
        self.root, self.peers = root, peers
        self.rows = root / "datasets" / "chats.jsonl"
        self.rows.parent.mkdir()
        self.rows.write_text("".join(json.dumps(row) + "\n" for row in chats(rows)))
        self._python(
            "-m", "serin_trainer.scratch", "--corpus", str(self.rows), "--out", str(root / "models/base"), *MODEL
        )
        self.prepared = self._stage({**_support("PREPARE"), **self._prepare()})["output"]

    def serin(self, name: str, steps: int) -> float:
        config = self._train(name, steps, steps, processes=1)
        self._finish(self._start(config))
        return float(json.loads((self.root / "termination-log").read_bytes())["output"]["tokensPerSecond"])

    def peer(self, name: str, steps: int) -> float:
        given = [self.root / "models/base", self.rows, steps, self.root / "peer", LONGEST, BATCH]
        # Imported, not run: TRL takes the hash of what it is given, and of a class of __main__ that is all it refers to.
        told = self._python("-c", "import train_peers; train_peers.main()", name, *map(str, given))
        return float(re.findall(r"^measured (.*)$", told, re.MULTILINE)[0])

    def deaths(self, times: int) -> tuple[list[float], list[float]]:
        """Seconds to the next attempt's first step after each death, and seconds of every save."""
        config = self._train("killed", 400, 10, processes=2)
        seconds: list[float] = []
        stalls: list[float] = []
        run = self._start(config)
        self._until(run, r"stood still for ([0-9.]+) s", stalls)
        self._until(run, r"^step ", stalls)
        for _ in range(times):
            os.kill(self._rank(run.pid, 1), signal.SIGKILL)
            began = time.monotonic()
            self._finish(run, expect=None)
            run = self._start(config)
            self._until(run, r"^step ", stalls)
            seconds.append(time.monotonic() - began)
            self._until(run, r"stood still for ([0-9.]+) s", stalls)
            self._until(run, r"^step ", stalls)
        run.terminate()
        self._finish(run, expect=None)
        return seconds, stalls

    def _prepare(self) -> dict[str, Any]:
        data = _support("PREPARE")["data"]
        source = {"name": "chats", "uri": "pvc://datasets/chats.jsonl"}
        split = {**data["split"], "trainPercent": 100, "validationPercent": 0, "testPercent": 0}
        near = {"action": "Keep", "similarityPercent": 90}
        cleaning = {**data["cleaning"], "nearDuplicates": near}
        changed = {
            "train": [source],
            "split": split,
            "cleaning": cleaning,
            "packing": "Isolated",
            "tooLong": "Truncate",
        }
        return {"data": {**data, **changed}, "maxSequenceLength": LONGEST}

    def _train(self, name: str, steps: int, save_every: int, processes: int) -> dict[str, Any]:
        made = _support("TRAIN")
        hyper = {
            "learningRate": "1e-3",
            "maxSteps": steps,
            "batchSize": BATCH,
            "saveSteps": save_every,
            "maxSequenceLength": LONGEST,
        }
        return {
            **made,
            "key": sha256(name.encode()).hexdigest()[:8],
            "output": f"pvc://artifacts/{name}",
            "baseModel": {"uri": "pvc://models/base", "digest": self.prepared["baseModelDigest"]},
            "dataUri": self.prepared["dataUri"],
            "dataDigest": self.prepared["dataDigest"],
            "hyperparameters": {**made["hyperparameters"], **hyper},
            "distribution": {"nodes": 1, "processesPerNode": processes, "zeroStage": 2 if processes > 1 else 0},
        }

    def _stage(self, config: dict[str, Any]) -> dict[str, Any]:
        path = self.root / "config.json"
        path.write_text(json.dumps(config))
        self._python("-m", "serin_trainer", "--config", str(path))
        return json.loads((self.root / "termination-log").read_bytes())

    def _start(self, config: dict[str, Any]) -> subprocess.Popen[str]:
        path = self.root / "config.json"
        path.write_text(json.dumps(config))
        processes = config["distribution"]["processesPerNode"]
        flags = ["--nnodes=1", f"--nproc_per_node={processes}", "--node_rank=0", "--master_addr=127.0.0.1"]
        return subprocess.Popen(
            [sys.executable, "-m", "serin_trainer.torchrun", *flags, f"--master_port={free_port()}",
             "-m", "serin_trainer", "--config", str(path)],
            env=self._environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def _until(self, run: subprocess.Popen[str], pattern: str, stalls: list[float]) -> None:
        told: list[str] = []
        for line in run.stdout or ():
            told.append(line)
            if stall := re.search(r"stood still for ([0-9.]+) s", line):
                stalls.append(float(stall[1]))
            if re.search(pattern, line):
                return
        raise SystemExit("the trainer ended: " + "".join(told[-20:]))

    def _finish(self, run: subprocess.Popen[str], expect: int | None = 0) -> None:
        told = (run.stdout.read() if run.stdout else "")[-4000:]
        if run.wait() != expect and expect is not None:
            raise SystemExit(f"the trainer ended with {run.returncode}: {told}")

    def _python(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], env=self._environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{arguments[:2]} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(SOURCE), str(PEERS.parent), str(self.peers)]),
            "PYTHONUNBUFFERED": "1",
            "SERIN_PVC_ROOT": str(self.root),
            "SERIN_RESULT_PATH": str(self.root / "termination-log"),
            "SERIN_METRICS_PORT": str(free_port()),
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(self.root / "hf"),
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "DS_ACCELERATOR": "cpu",
            "TORCHDYNAMO_DISABLE": "1",
        }

    @staticmethod
    def _rank(torchrun: int, rank: int) -> int:
        for entry in Path("/proc").iterdir():
            try:
                parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1] if entry.name.isdigit() else ""
                if parent == str(torchrun) and f"\0RANK={rank}\0".encode() in b"\0" + (entry / "environ").read_bytes():
                    return int(entry.name)
            except OSError:
                continue
        raise SystemExit(f"torchrun has no process of rank {rank}")


def chats(count: int) -> list[dict[str, str]]:
    """Questions with answers of log-normal length: most are short, a few fill the longest sequence."""
    chance = random.Random(7)

    def text(words: int) -> str:
        return " ".join(chance.choice(WORDS) for _ in range(words))

    return [
        {"input": text(chance.randint(3, 12)), "output": text(min(180, max(2, round(chance.lognormvariate(3.2, 1)))))}
        for _ in range(count)
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _support(name: str) -> dict[str, Any]:
    """The tests' own stage configs, which are as the operator writes them."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support import training

    return json.loads(json.dumps(getattr(training, name)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench" / "train.json")
    parser.add_argument("--peers", type=Path, required=True, help="the folder that TRL was put into")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--deaths", type=int, default=3)
    options = parser.parse_args()
    rates: dict[str, list[float]] = {"serin": [], "trl": [], "unpacked": []}
    with tempfile.TemporaryDirectory(prefix="serin-bench-train-") as folder:
        bench = Bench(Path(folder), options.rows, options.peers)
        for number in range(options.rounds):
            turns = [
                ("serin", lambda n=number: bench.serin(f"round-{n}", options.steps)),
                ("trl", lambda: bench.peer("trl", options.steps)),
                ("unpacked", lambda: bench.peer("unpacked", options.steps)),
            ]
            for name, measure in turns[number % 3 :] + turns[: number % 3]:
                rates[name].append(round(measure(), 1))
                print(f"round {number + 1}: {name} {rates[name][-1]:.0f} tokens/s", file=sys.stderr, flush=True)
        seconds, stalls = bench.deaths(options.deaths)
    figures = {
        "vsTrl": ratio(rates["serin"], rates["trl"]),
        "vsUnpacked": ratio(rates["serin"], rates["unpacked"]),
        "secondsToResume": round(statistics.median(seconds), 2),
        "checkpointStallSeconds": round(statistics.median(stalls), 3),
        "tokensPerSecond": rates,
        "resumes": [round(one, 2) for one in seconds],
        "stalls": stalls,
        "rounds": options.rounds,
        "steps": options.steps,
        "loadAverage": os.getloadavg()[0],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))
    return 0


def ratio(ours: list[float], theirs: list[float]) -> float:
    """The median of the rounds' ratios: what slows the machine down slows both of a round."""
    return round(statistics.median(one / other for one, other in zip(ours, theirs, strict=True)), 3)


if __name__ == "__main__":
    sys.exit(main())
