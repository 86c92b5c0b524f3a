"""Consolidation's memory and time, side by side with DeepSpeed's own converter, on the same shards in one run.

    python benchmarks/consolidate.py        writes build/bench/consolidate.json and prints it

The shards are real: four processes of DeepSpeed's engine make one step and save, once with ZeRO 3 and once with ZeRO 2.
The step is SGD's, whose checkpoint has no moments: no converter reads those, and they would be two thirds of the disk.
Both converters write float32 safetensors of the same bounded size, in processes of their own, in turns; the shards
are out of the page cache before each, and the time ends when the output is on disk. What is compared:

- `peakRatio`: anonymous memory (RssAnon, sampled every 5 ms) of ours to theirs; the worse of the two layouts.
- `timeRatio`: medians of ours to theirs; the worse of the two. Ours hashes what it writes (SHA-256), theirs does not.
- `identical`: every tensor of the one is bit for bit a tensor of the other.
- `stage`: the whole stage as a pod runs it (verifying, converting to bf16, load test, card, manifest): its memory and time.
- `flat`: our peak on a model of an eighth of the size beside the peak on the full one.

Needs the torch environment that `make bench-consolidate` uses. Everything is made in a temporary folder and removed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GIB = 1 << 30
SHARD = 1_000_000_000
FULL = ["--hidden", "2048", "--intermediate", "5504", "--layers", "8", "--vocabulary", "32000"]
EIGHTH = ["--hidden", "768", "--intermediate", "2048", "--layers", "4", "--vocabulary", "24000"]

# Both as a person would call them from Python; what differs is whose function it is.
OURS = """
import sys
from pathlib import Path
from serin_trainer import consolidate, weights, zero
weights.SHARD_BYTES = {shard}
base, checkpoint, output = map(Path, sys.argv[1:])
weights.write_model(output, *consolidate.full(weights.read_folder(base), zero.read(checkpoint)))
"""
THEIRS = """
import sys
from deepspeed.utils.zero_to_fp32 import convert_zero_checkpoint_to_state_dict
convert_zero_checkpoint_to_state_dict(sys.argv[2], sys.argv[3], dtype="float32", max_shard_size={shard}, safe_serialization=True)
"""
COMPARE = """
import sys
from pathlib import Path
import numpy as np
from serin_trainer import weights
from serin_trainer.tensors import whole
one, other = (weights.read_folder(Path(folder)) for folder in sys.argv[1:])
same = one.keys() == other.keys() and all(
    one[n].dtype == other[n].dtype and one[n].shape == other[n].shape
    and np.array_equal(whole(one[n]).view("u1"), whole(other[n]).view("u1")) for n in one)
print("identical" if same else "different")
"""


@dataclass(frozen=True)
class Measured:
    seconds: float
    peak_mib: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench" / "consolidate.json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="the eighth only: to try the benchmark itself")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="consolidate-", dir=os.environ.get("SERIN_BENCH_DIR")))
    try:
        found = compared(work, EIGHTH if options.small else FULL, options.rounds)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 0 if found["identical"] else 1


def compared(work: Path, size: list[str], rounds: int) -> dict[str, Any]:
    layouts = {}
    for stage in (3, 2):
        made = work / f"zero{stage}"
        saved(made, stage, size)
        layouts[f"zero{stage}"] = side_by_side(made, rounds)
        if stage == 3:
            whole_stage = measured_stage(made)
        shutil.rmtree(made)
    small = work / "eighth"
    saved(small, 3, EIGHTH)
    eighth = converted(OURS, small, small / "ours")
    worst = max(layouts.values(), key=lambda layout: layout["timeRatio"])
    peaks = max(layouts.values(), key=lambda layout: layout["peakRatio"])
    return {
        "modelGiB": round(peaks["modelGiB"], 2),
        "ranks": 4,
        "peakRatio": peaks["peakRatio"],
        "peakMiB": max(layout["peakMiB"] for layout in layouts.values()),
        "timeRatio": worst["timeRatio"],
        "identical": all(layout["identical"] for layout in layouts.values()),
        "layouts": layouts,
        "flat": {"peakMiBEighth": round(eighth.peak_mib, 1), "peakMiBFull": layouts["zero3"]["peakMiB"]},
        "stage": whole_stage,
        "checkpoint": "saved by DeepSpeed's engine, 4 processes, after one step of SGD (no moments, which no converter reads)",
        "rounds": rounds,
    }


def saved(folder: Path, stage: int, size: list[str]) -> None:
    say(f"saving a checkpoint of 4 processes with ZeRO {stage}")
    wish = ["--out", str(folder), "--ranks", "4", "--stage", str(stage), "--dtype", "bf16", "--optimizer", "SGD", *size]
    subprocess.run([sys.executable, "-m", "support.zero_save", *wish], env=environment(), check=True, stdout=sys.stderr)


def side_by_side(made: Path, rounds: int) -> dict[str, Any]:
    single(made / "base")
    ours, theirs = [], []
    for number in range(rounds):
        ours.append(converted(OURS, made, made / "ours"))
        theirs.append(converted(THEIRS, made, made / "theirs"))
        say(f"round {number + 1}: ours {ours[-1]}, theirs {theirs[-1]}")
    answer = subprocess.run(
        [sys.executable, "-c", COMPARE, str(made / "ours"), str(made / "theirs")],
        env=environment(), check=True, capture_output=True, text=True,
    )  # fmt: skip
    size = sum(path.stat().st_size for path in (made / "ours").glob("*.safetensors"))
    peak, their_peak = max(m.peak_mib for m in ours), min(m.peak_mib for m in theirs)
    seconds, their_seconds = (statistics.median(m.seconds for m in side) for side in (ours, theirs))
    for folder in ("ours", "theirs"):
        shutil.rmtree(made / folder)
    return {
        "modelGiB": size / GIB,
        "peakMiB": round(peak, 1),
        "theirPeakMiB": round(their_peak, 1),
        "peakRatio": round(peak / their_peak, 4),
        "seconds": round(seconds, 2),
        "theirSeconds": round(their_seconds, 2),
        "timeRatio": round(seconds / their_seconds, 3),
        "identical": answer.stdout.strip() == "identical",
    }


def converted(program: str, made: Path, output: Path) -> Measured:
    """One conversion in a process of its own, until its output is on disk."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    cold(made)
    arguments = [str(made / "base"), str(made / "checkpoint-1"), str(output)]
    return watched([sys.executable, "-c", program.format(shard=SHARD), *arguments], environment(), output)


def measured_stage(made: Path) -> dict[str, Any]:
    """The stage as its pod runs it: on claims, with a marker, a tokenizer and a base model of which the digest is known."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "trainer-image" / "src")]
    from serin_trainer import checkpoint, manifest
    from support.tiny_model import write_tokenizer
    from support.training import CONSOLIDATE, changed, write_config

    half(made / "base")
    write_tokenizer(made / "base")
    folder = made / "checkpoint-1"
    checkpoint.complete(folder, 1, checkpoint.describe(folder, checkpoint.file_names(folder)))
    root = made.parent
    wish = {
        "baseModel": {"uri": f"pvc://{made.name}/base", "digest": manifest.digest_of(made / "base")},
        "checkpointUri": f"pvc://{made.name}/checkpoint-1",
        "output": "pvc://artifacts/model-5f00cc",
    }
    config = write_config(root / "config.json", changed(CONSOLIDATE, wish))
    claims = {"SERIN_PVC_ROOT": str(root), "SERIN_RESULT_PATH": str(root / "result"), "HF_HUB_OFFLINE": "1"}
    cold(made)
    command = [sys.executable, "-m", "serin_trainer", "--config", str(config)]
    found = watched(command, {**environment(), **claims}, root / "artifacts")
    say(f"the whole stage: {found}, {json.loads((root / 'result').read_text())['message']}")
    shutil.rmtree(root / "artifacts")
    return {"seconds": round(found.seconds, 2), "peakMiB": round(found.peak_mib, 1)}


def single(base: Path) -> None:
    """The base in float32, as DeepSpeed's converter writes by default."""
    _rewrite_base(base, "F32")


def half(base: Path) -> None:
    _rewrite_base(base, "BF16")


def _rewrite_base(base: Path, dtype: str) -> None:
    """The same names and shapes with another type; the values of a base are not read for a full fine-tune."""
    path = base / "model.safetensors"
    content = path.open("rb")
    header = json.loads(content.read(int.from_bytes(content.read(8), "little")))
    width, at = {"F32": 4, "BF16": 2}[dtype], 0
    for entry in header.values():
        count = 1
        for side in entry["shape"]:
            count *= side
        entry["dtype"], entry["data_offsets"] = dtype, [at, at + count * width]
        at += count * width
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + at)


def watched(command: list[str], env: dict[str, str], output: Path) -> Measured:
    started = time.monotonic()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak = Peak(process.pid)
    _, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{command[1:3]} failed:\n{errors}")
    for path in output.rglob("*.safetensors"):
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    seconds = time.monotonic() - started
    return Measured(round(seconds, 2), round(peak.stop(), 1))


class Peak:
    """The highest anonymous memory of a process. Mapped files are left out: the kernel takes their pages back at will."""

    def __init__(self, pid: int) -> None:
        self._path = Path(f"/proc/{pid}/status")
        self._mib = 0.0
        self._thread = threading.Thread(target=self._sample)
        self._ended = threading.Event()
        self._thread.start()

    def stop(self) -> float:
        self._ended.set()
        self._thread.join()
        return self._mib

    def _sample(self) -> None:
        while not self._ended.wait(0.005):
            try:
                match = re.search(r"RssAnon:\s+(\d+) kB", self._path.read_text())
            except OSError:
                return
            self._mib = max(self._mib, int(match[1]) / 1024 if match else 0.0)


def environment() -> dict[str, str]:
    source = os.pathsep.join(str(ROOT / part) for part in ("trainer-image/src", "tests"))
    return {**os.environ, "PYTHONPATH": source, "DS_ACCELERATOR": "cpu", "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "2"}


def cold(folder: Path) -> None:
    """Takes the files out of the page cache, and nothing else: the libraries that both import stay where they are."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
