"""The real operator as a process against a real apiserver, to be killed and started again."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from serin_devcluster.apiserver import free_ports

SETTINGS = {
    "images": {"trainer": "trainer:test", "evaluator": "evaluator:test", "server": "server:test"},
    "metricSources": [{"name": "default", "url": "http://127.0.0.1:9"}],
    "prepareRetrySeconds": 2,
    "scaleDownDelaySeconds": 1,
    "logFormat": "json",
}


class OperatorProcess:
    """`python -m serin_operator` with a kubeconfig; its log is in `log`."""

    def __init__(self, kubeconfig: Path, name: str = "operator-0", **settings: object) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="serin-operator-"))
        self.log = self._folder / "operator.log"
        self.port = free_ports(1)[0]
        config = self._folder / "operator.yaml"
        config.write_text(yaml.safe_dump(SETTINGS | settings))
        self._env = os.environ | {
            "KUBECONFIG": str(kubeconfig),
            "SERIN_CONFIG": str(config),
            "SERIN_HEALTH_PORT": str(self.port),
            "POD_NAMESPACE": "default",
            "POD_NAME": name,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> "OperatorProcess":
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "serin_operator"], env=self._env, stdout=log, stderr=subprocess.STDOUT
            )
        return self

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(120)

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def rss_mib(self) -> float:
        """Resident memory now, from /proc."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("no VmRSS")

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text().splitlines()[-lines:]) if self.log.exists() else ""
