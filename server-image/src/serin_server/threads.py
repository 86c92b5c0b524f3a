"""How many threads to compute with: as many as the pod may use, not as many as the node has.

torch sees the node's CPUs; a pod with a limit of one CPU that computes with eight threads is throttled to a crawl.
"""

import math
import os
from pathlib import Path

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
_QUOTA, _PERIOD = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def usable_cpus() -> int:
    """OMP_NUM_THREADS when it is set, otherwise the CPUs allowed by affinity and by the cgroup's limit."""
    wished = os.environ.get("OMP_NUM_THREADS", "")
    if wished.isdigit() and int(wished) > 0:
        return int(wished)
    available = len(os.sched_getaffinity(0))
    limit = cgroup_limit()
    return available if limit is None else max(1, min(available, math.ceil(limit)))


def cgroup_limit() -> float | None:
    """The CPU limit of this container, in CPUs, under cgroup v2 or v1; None when there is none."""
    try:
        if _CPU_MAX.exists():
            quota, period = _CPU_MAX.read_text().split()
        else:
            quota, period = _QUOTA.read_text(), _PERIOD.read_text()
        return int(quota) / int(period) if quota.strip() not in ("max", "-1") else None
    except (OSError, ValueError):
        return None
