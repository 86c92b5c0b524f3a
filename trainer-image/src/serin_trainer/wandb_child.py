"""W&B's own client in a process of its own, told what to do in lines of JSON: one answer for each.

The client starts threads and a program in Go, hooks into the exit of its process and talks on the terminal. Here it may:
nothing of it reaches the training, and the process ends as soon as nobody speaks to it any more.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from typing import Any


def main() -> None:
    os.nice(10)  # training comes first
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(commands,), daemon=True).start()
    client = _Client()
    while True:
        command = commands.get()
        do = {"open": client.open, "log": client.log, "end": client.end}[command.pop("do")]
        try:
            answer = do(**command)
        except BaseException as error:
            answer = {"error": str(error) or type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _read(commands: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        commands.put(json.loads(line))
    os._exit(0)  # also while the client waits for a server; its program in Go follows


class _Client:
    """One run of W&B's client."""

    def __init__(self) -> None:
        self._run: Any = None

    def open(
        self,
        run: str,
        name: str,
        project: str,
        entity: str | None,
        mode: str,
        config: dict[str, Any],
        folder: str,
        init_seconds: float,
    ) -> dict[str, Any]:
        import wandb

        settings = wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            init_timeout=init_seconds,
            save_code=False,
            silent=True,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        self._run = wandb.init(
            id=run,
            name=name,
            project=project,
            entity=entity,
            mode=mode,
            dir=folder,
            config=config,
            allow_val_change=True,
            resume="allow" if mode == "online" else None,
            settings=settings,
        )
        return {"page": self._run.url, "first": self._run.starting_step, "files": self._run.settings.sync_dir}

    def log(self, points: list[tuple[int, float, dict[str, float]]]) -> dict[str, Any]:
        for step, at, values in points:
            self._run.log({**values, "_timestamp": at}, step=step)
        return {}

    def end(self, status: str | None) -> dict[str, Any]:
        if status is None:
            self._run.mark_preempting()
        self._run.finish(exit_code=0 if status == "FINISHED" else 1)
        return {}


if __name__ == "__main__":
    main()
