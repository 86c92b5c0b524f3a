"""What this machine can do: device, precision and threads. The plan is chosen from the hardware, never assumed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

Precision = Literal["bf16", "fp32"]


def settle(processes: int) -> None:
    """Sets what must be set before torch and DeepSpeed are imported."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Nothing is compiled here, but importing DeepSpeed's optimizers would load torch's whole compiler: seconds of a start.
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    # A progress bar in a pod's log is a line for each redraw.
    os.environ.setdefault("TQDM_DISABLE", "1")
    # Looking for an nvidia device is how DeepSpeed decides as well, but it warns about what is no fault here.
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        os.environ.setdefault("DS_ACCELERATOR", "cpu")


def usable_cores() -> int:
    """Cores of this pod: its CPU limit where it has one, otherwise those it may run on."""
    available = len(os.sched_getaffinity(0))
    for path in (Path("/sys/fs/cgroup/cpu.max"),):
        try:
            quota, period = path.read_text().split()
        except (OSError, ValueError):
            continue
        if quota != "max":
            return max(1, min(available, int(quota) // int(period)))
    return available


def has_accelerator() -> bool:
    import torch

    return torch.cuda.is_available()


def precision() -> Precision:
    """bf16 where a GPU computes in it; fp32 elsewhere. On most CPUs bf16 is emulated and many times slower."""
    import torch

    return "bf16" if has_accelerator() and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
