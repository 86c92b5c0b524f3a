"""The ground the other tests of this room stand on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from serin_devcluster.apiserver import ApiServer
from serin_devcluster.processes import start_time, wait_until

STARTS_ONE_AND_IS_KILLED = """
import os, signal
from serin_devcluster.apiserver import ApiServer
server = ApiServer().start()
print(*[child.process.pid for child in server._children], server.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_writes_to_a_namespace_are_read_back_and_audited_by_name(apiserver: ApiServer, namespace: str) -> None:
    apiserver.kubectl("create", "configmap", "greeting", "--from-literal=word=hello", "-n", namespace)
    assert apiserver.kubectl("get", "configmap", "greeting", "-n", namespace, "-o", "jsonpath={.data.word}") == "hello"
    seen = [event["objectRef"] for event in apiserver.audit_events() if event["verb"] == "create"]
    assert any(ref["resource"] == "configmaps" and ref["namespace"] == namespace for ref in seen)


def test_nothing_lives_on_when_the_starting_process_is_killed(apiserver: ApiServer) -> None:
    source = Path(__file__).parents[2] / "devcluster" / "src"
    done = subprocess.run(
        [sys.executable, "-c", STARTS_ONE_AND_IS_KILLED],
        env={
            "PYTHONPATH": str(source),
            "PATH": "/usr/bin:/bin:/usr/local/go/bin",
            "HOME": str(Path.home()),
            **cache_env(apiserver),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    *pids, folder = done.stdout.split()
    assert len(pids) == 2, done.stderr
    assert wait_until(lambda: not any(start_time(int(pid)) for pid in pids), seconds=60)
    subprocess.run(["rm", "-rf", folder], check=True)


def cache_env(apiserver: ApiServer) -> dict[str, str]:
    return {"SERIN_CACHE": str(apiserver.paths.cache)}
