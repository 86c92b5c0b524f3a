"""A real browser for tests: Chromium without a window, driven through its DevTools protocol over two pipes.

Nothing is fetched for a page but the page itself: every other request is refused and noted
(https://chromedevtools.github.io/devtools-protocol/).
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Json = dict[str, Any]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_SECONDS = 120.0  # a starved machine is slow, and a browser that hangs must not hang the tests
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
    "--force-color-profile=srgb", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip


class BrowserFailed(Exception):
    """There is no browser, or it did not do as it was told."""


def executable() -> str:
    """SERIN_BROWSER, or the first browser on the path."""
    found = os.environ.get("SERIN_BROWSER") or next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise BrowserFailed("there is no Chromium here: `make test-browser` installs one, or name it in SERIN_BROWSER")
    return found


class Browser:
    """One process with a profile of its own that goes with it."""

    def __init__(self) -> None:
        program = executable()
        self._profile = tempfile.TemporaryDirectory(prefix="serin-browser-", ignore_cleanup_errors=True)
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # bash, since it can hand on descriptors of any number as 3 and 4, where the browser looks for them.
        command = ("bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "browser", program, *FLAGS)
        self._process = subprocess.Popen(
            [*command, f"--user-data-dir={self._profile.name}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=(theirs_in, theirs_out),
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._read = b""
        self._number = 0
        self._events: list[Json] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)
        self._profile.cleanup()

    def open(self, page: Path, width: int, height: int = 900, scheme: str = "light") -> "Page":
        """The page as it is once it has loaded."""
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        found = Page(self, session, page.resolve().as_uri())
        found.load(width, height, scheme)
        return found

    def call(self, method: str, params: Mapping[str, Any] | None = None, session: str = "") -> Json:
        """What the browser answers."""
        number = self.tell(method, params, session)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            message = self._message(deadline, method)
            if message.get("id") == number:
                if "error" in message:
                    raise BrowserFailed(f"{method}: {message['error']}")
                return message["result"]
            if "method" in message:
                self._events.append(message)

    def tell(self, method: str, params: Mapping[str, Any] | None = None, session: str = "") -> int:
        """Without waiting for the answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        return self._number

    def event(self, session: str) -> Json:
        """The next that happened in the session."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            message = self._events.pop(0) if self._events else self._message(deadline, "an event")
            if message.get("sessionId") == session and "method" in message:
                return message

    def events(self, session: str) -> list[Json]:
        """All that came meanwhile."""
        self.call("Browser.getVersion")  # what was said before this answer has come by then
        found = [event for event in self._events if event.get("sessionId") == session]
        self._events = [event for event in self._events if event.get("sessionId") != session]
        return found

    def _message(self, deadline: float, what: str) -> Json:
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._in], [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                raise BrowserFailed(f"{what}: no answer within {PATIENCE_SECONDS:.0f} s")
            some = os.read(self._in, 1 << 20)
            if not some:
                raise BrowserFailed(f"{what}: the browser has ended with {self._process.wait()}")
            self._read += some
        first, _, self._read = self._read.partition(b"\0")
        return json.loads(first)


class Page:
    """One page in a tab of its own."""

    def __init__(self, browser: Browser, session: str, url: str) -> None:
        self._browser, self._session, self._url = browser, session, url
        self.refused: list[str] = []  # what it wanted beside itself
        self.said: list[str] = []  # the console's warnings and errors
        self._arrived = False  # the tab's empty page loads as well, perhaps late

    def load(self, width: int, height: int, scheme: str) -> None:
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        self._call("Fetch.enable", {"patterns": [{"urlPattern": "*"}]})
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._call("Emulation.setDeviceMetricsOverride", screen)
        self._call("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        self._browser.tell("Page.navigate", {"url": self._url}, self._session)
        while not self._took(self._browser.event(self._session)):
            pass

    def ask(self, script: str) -> Any:
        """The value of a script in the page; what the page said until then is known after it."""
        answer = self._call("Runtime.evaluate", {"expression": script, "returnByValue": True})
        if "exceptionDetails" in answer:
            raise BrowserFailed(str(answer["exceptionDetails"]))
        for event in self._browser.events(self._session):
            self._took(event)
        return answer["result"].get("value")

    def picture(self) -> bytes:
        """The whole page as PNG."""
        shot = self._call("Page.captureScreenshot", {"captureBeyondViewport": True, "format": "png"})
        return base64.b64decode(shot["data"])

    def _call(self, method: str, params: Mapping[str, Any] | None = None) -> Json:
        return self._browser.call(method, params, self._session)

    def _took(self, event: Json) -> bool:
        """Notes what happened; True once the page has loaded."""
        told = event["params"]
        match event["method"]:
            case "Fetch.requestPaused":
                self._judge(told["requestId"], told["request"]["url"])
            case "Log.entryAdded" if told["entry"]["level"] in ("warning", "error"):
                self.said.append(told["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.said.append(str(told["exceptionDetails"].get("text")))
            case "Runtime.consoleAPICalled" if told["type"] in ("warning", "error", "assert"):
                self.said.append(str(told["args"]))
            case "Page.frameNavigated":
                self._arrived = told["frame"]["url"] == self._url
            case "Page.loadEventFired":
                return self._arrived
            case _:
                pass
        return False

    def _judge(self, request: str, url: str) -> None:
        if url == self._url:
            self._browser.tell("Fetch.continueRequest", {"requestId": request}, self._session)
            return
        self.refused.append(url)
        self._browser.tell("Fetch.failRequest", {"requestId": request, "errorReason": "BlockedByClient"}, self._session)
