"""What this machine can do: device, precision and threads. The plan is chosen from the hardware, never assumed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal

from .errors import ConfigError

Precision = Literal["bf16", "fp16", "fp32"]
PRECISIONS: Final[dict[str, Precision]] = {"BF16": "bf16", "FP16": "fp16", "FP32": "fp32"}


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


def computes_bf16() -> bool:
    import torch

    return has_accelerator() and torch.cuda.is_bf16_supported(including_emulation=False)


def precision(wanted: Literal["BF16", "FP16", "FP32"] | None, accelerated: bool, bf16: bool) -> Precision:
    """The asked for one, if this machine can; else bf16 where an accelerator computes in it, and fp32 elsewhere.

    On most CPUs bf16 is emulated and many times slower: there it must be asked for.
    """
    if wanted == "FP16" and not accelerated:
        raise ConfigError(
            "InvalidConfig",
            "hyperparameters.precision is FP16 and this is a CPU: the range of fp16 is too small for gradients unless they"
            " are scaled, which is done on accelerators only",
            "set precision to BF16 or FP32, or leave it out",
        )
    if wanted == "BF16" and accelerated and not bf16:
        raise ConfigError(
            "InvalidConfig",
            "hyperparameters.precision is BF16, which this accelerator does not compute in",
            "set precision to FP16 or FP32, or choose other nodes in distribution.scheduling.nodeSelector",
        )
    if wanted is None:
        return "bf16" if bf16 else "fp32"
    return PRECISIONS[wanted]
