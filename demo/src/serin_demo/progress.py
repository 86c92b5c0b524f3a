"""What a person sees while the demo runs: which step, since when, what comes next, and never a long silence."""

import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from serin_demo import plan

_NUMBER = re.compile(r"[0-9][0-9.:]*")
Clock = Callable[[], float]


class Progress:
    """Prints a line at each step, when something changes, and at least every 15 seconds."""

    def __init__(self, steps: Sequence[str], out: TextIO = sys.stdout, clock: Clock = time.monotonic) -> None:
        self._steps, self._out, self._clock = list(steps), out, clock
        self._began = self._stepped = self._printed = clock()
        self._number, self._now, self._writing = 0, "", threading.RLock()
        self._ended = threading.Event()

    def __enter__(self) -> "Progress":
        threading.Thread(target=self._beat, daemon=True, name="heartbeat").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def step(self, name: str) -> None:
        """The next step begins."""
        with self._writing:
            self._number = self._steps.index(name) + 1
            self._stepped, self._now = self._clock(), name
            coming = self._steps[self._number] if self._number < len(self._steps) else "nothing, this is the last"
            self._print("")
            self._print(f"[{self._elapsed()}] step {self._number} of {len(self._steps)}: {name}  (next: {coming})")

    def tell(self, text: str) -> None:
        """Something happened, or changed. Where only a number moved, a line every ten seconds is enough."""
        with self._writing:
            moved = _NUMBER.sub("", text) != _NUMBER.sub("", self._now)
            if moved or (text != self._now and self.quiet_for() >= plan.NUMBERS_SECONDS):
                self._print(f"[{self._elapsed()}]   {text}")
                self._now = text

    def show(self, text: str) -> None:
        """Text as it is, such as a line of another program."""
        with self._writing:
            self._print(text)

    def quiet_for(self) -> float:
        return self._clock() - self._printed

    def _beat(self) -> None:
        while not self._ended.wait(1.0):
            if self.quiet_for() >= plan.HEARTBEAT_SECONDS:
                with self._writing:
                    self._print(
                        f"[{self._elapsed()}]   … {self._now} ({self._clock() - self._stepped:.0f} s in this step)"
                    )

    def _elapsed(self) -> str:
        minutes, seconds = divmod(int(self._clock() - self._began), 60)
        return f"{minutes:02d}:{seconds:02d}"

    def _print(self, line: str) -> None:
        print(line, file=self._out, flush=True)
        self._printed = self._clock()
