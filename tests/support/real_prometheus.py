"""A real Prometheus on this machine, for as long as a test needs it."""

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serin_devcluster.apiserver import ApiServer
from serin_devcluster.gobuild import find_program
from support.on_a_cluster import SLOW
from support.ports import free_port


@contextmanager
def real_prometheus(folder: Path, config: Mapping[str, Any]) -> Iterator[str]:
    """Its URL, once it is ready. It ends at once when the configuration, or a file of rules, cannot be read."""
    file, log = folder / "prometheus.yml", folder / "prometheus.log"
    file.write_text(json.dumps(config))
    address = f"127.0.0.1:{free_port()}"
    program = find_program(ApiServer().paths, "prometheus")
    flags = (f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}")
    with log.open("wb") as said, subprocess.Popen([program, *flags], stdout=said, stderr=said) as running:
        try:
            _wait(running, f"http://{address}/-/ready", log)
            yield f"http://{address}"
        finally:
            running.terminate()


def _wait(running: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + SLOW
    while True:
        assert running.poll() is None, f"Prometheus ended: {log.read_text()[-800:]}"
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "Prometheus does not get ready"
            time.sleep(0.2)
