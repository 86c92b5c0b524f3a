"""A pod whose peers are not there yet goes when it is asked to, with torch's own waiting."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.ports import free_port

HERE = ("--nnodes=2", "--nproc_per_node=1", "--master_addr=127.0.0.1")


@pytest.mark.parametrize("node", [0, 1], ids=["it is where the others meet", "it is one of the others"])
def test_a_pod_that_waits_for_its_peers_goes_at_once(claims, node: int, tmp_path: Path) -> None:
    port = free_port()
    flags = [*HERE, f"--node_rank={node}", f"--master_port={port}"]
    command = [sys.executable, "-m", "serin_trainer.torchrun", *flags, "-m", "serin_trainer", "--config", "/none"]
    with (tmp_path / "log").open("w") as log:
        pod = subprocess.Popen(command, env=claims.environment(), stderr=log)
        waits_in_torch(pod.pid)
        pod.send_signal(signal.SIGTERM)
        assert pod.wait(timeout=120) == 75
    assert "nothing was to be saved" in (tmp_path / "log").read_text()


def waits_in_torch(process: int) -> None:
    """Until torch is loaded and the process has stopped working: it uses no CPU for a second."""
    maps, stat = Path(f"/proc/{process}/maps"), Path(f"/proc/{process}/stat")
    ends = time.monotonic() + 300
    while time.monotonic() < ends:
        before = cpu(stat)
        time.sleep(1)
        if "libtorch_cpu" in maps.read_text() and cpu(stat) - before <= 2:
            return
    pytest.fail("torchrun did not come to its waiting")


def cpu(stat: Path) -> int:
    """Ticks of 10 ms that a process has used."""
    fields = stat.read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
