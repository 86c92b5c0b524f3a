"""Stages of the trainer in processes that are forked from one that has torch imported already.

Importing takes most of the time of a tiny training, and is the same each time. The runs that are about how processes are
started use torchrun itself.
"""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

from support.ports import free_port

PRELOADED = [
    "torch",
    "deepspeed",
    "peft",
    "transformers.models.llama.modeling_llama",
    "serin_trainer.trainer",
    "serin_trainer.watch",
    "serin_trainer.consolidate",
]


def run_forked(config: Path, processes: int, environment: dict[str, str], log: Path, timeout: float = 240) -> int:
    """Runs a stage as so many ranks; returns the exit code of the first rank that failed, or 0."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(processes)}
    ranks = [
        context.Process(
            target=_rank,
            args=(config, {**environment, **rendezvous, "RANK": str(rank), "LOCAL_RANK": str(rank)}, log),
        )
        for rank in range(processes)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(timeout)
        if rank.exitcode is None:
            rank.kill()
            rank.join()
    return next((rank.exitcode for rank in ranks if rank.exitcode), 0) or 0


def _rank(config: Path, environment: dict[str, str], log: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    from serin_trainer.__main__ import main

    os._exit(main(["--config", str(config)]))
