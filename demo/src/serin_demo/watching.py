"""Evidence: every version of some objects that the apiserver announced, with the time at which it came.

A watch, since a poll would miss what lasts shorter than its interval. Not here: what the versions mean.
"""

import json
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from serin_demo.kube import Kubectl, Object


@dataclass(frozen=True, slots=True)
class Seen:
    """One version of an object, and when it was seen (seconds since the epoch)."""

    at: float
    object: Object


@dataclass
class Watch:
    """Follows all objects of one kind in a namespace until it is closed."""

    kubectl: Kubectl
    kind: str
    history: list[Seen] = field(default_factory=list)
    _process: subprocess.Popen[str] | None = None
    _thread: threading.Thread | None = None
    _closing: bool = False

    def start(self) -> "Watch":
        self._thread = threading.Thread(target=self._follow, daemon=True, name=f"watch-{self.kind}")
        self._thread.start()
        return self

    def close(self) -> None:
        self._closing = True
        if self._process:
            self._process.terminate()
        if self._thread:
            self._thread.join(timeout=5)

    def __enter__(self) -> "Watch":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow(self) -> None:
        """A watch ends now and then (by the apiserver, by design); the next one begins with what is there."""
        while not self._closing:
            command = self.kubectl.command("get", self.kind, "--watch", "-o", "json")
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
                self._process = process
                assert process.stdout is not None
                for found in documents(process.stdout):
                    self.history.append(Seen(time.time(), found))
            if not self._closing:
                time.sleep(0.5)


def documents(lines: Iterable[str]) -> Iterator[Object]:
    """The JSON documents that kubectl prints one after the other, each closed by a brace in the first column."""
    part: list[str] = []
    for line in lines:
        part.append(line)
        if line.rstrip("\n") == "}":
            found = json.loads("".join(part))
            part = []
            yield from found["items"] if found.get("kind") == "List" else [found]
