"""A process that has imported the operator and does nothing but fork: a fresh operator in a tenth of a second.

The child is a process like any other (its own pid, a real SIGKILL ends it); it only skips the import, which costs two
seconds of CPU. The zygote has no threads and no event loop, so a fork copies nothing half done.

Speaks JSON lines on stdin and stdout: `{"environment", "log"}` is answered by `{"pid"}`, `{"wait": pid}` by `{"code"}`.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
LATE = ("httpcore", "h11", "anyio._backends._asyncio")  # what the operator's libraries import only when they are used


def serve() -> None:
    """Answer requests until stdin ends; the children go with us."""
    import serin_operator.__main__ as operator

    for late in LATE:
        importlib.import_module(late)
    gc.freeze()  # the collector would touch, and so copy, every page that the children share
    print(json.dumps({"ready": os.getpid()}), flush=True)
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        if "wait" in asked:
            _, status = os.waitpid(asked["wait"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        else:
            answer = {"pid": _fork(operator.main, asked["environment"], asked["log"])}
        print(json.dumps(answer), flush=True)


def _fork(main: Any, environment: dict[str, str], log: str) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        _become(environment, log)
        code = main()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _become(environment: dict[str, str], log: str) -> None:
    """Output to the log, input from nowhere, the given environment on top of ours."""
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(nowhere, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ.update(environment)
    os.chdir(Path(log).parent)


if __name__ == "__main__":
    serve()
