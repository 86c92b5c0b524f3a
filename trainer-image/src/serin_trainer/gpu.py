"""What a process makes of its GPU. On a machine without one there is nothing to tell."""

from __future__ import annotations

import torch

from .metrics import GpuUse


def gpu_use() -> GpuUse | None:
    """Of the device that this process computes on. NVML (nvidia-ml-py) is what `nvidia-smi` asks too; untested on GPUs."""
    if not torch.cuda.is_available():
        return None
    free, memory = torch.cuda.mem_get_info()
    try:
        busy = torch.cuda.utilization() / 100
    except Exception:  # NVML has errors of its own for each driver that lacks something; training must not end by them
        busy = float("nan")
    return GpuUse(busy, memory - free, memory)
