"""torchrun, keeping exit codes: `python -m serin_trainer.torchrun <torchrun's flags> -m serin_trainer --config FILE`.

torchrun ends with 1 however its processes ended. The operator decides by the exit code whose turn it is, so the code
of the process that failed first must reach the pod, and with it what that process said (`failures.py`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from . import failures
from .errors import EXIT_TRY_AGAIN, EXIT_UNKNOWN
from .result import write_termination_log
from .stopping import rank_of, watch_over_children

# A pod that is asked to stop has 120 s (terminationGracePeriodSeconds) to end its step and save.
SECONDS_TO_SAVE = "110"
SECONDS_FOR_THE_PEER = 8.0


def main(arguments: list[str]) -> int:
    # torchrun sets one thread a process when this is unset; how many there should be is `hardware.settle`'s to know.
    threads_were_given = "OMP_NUM_THREADS" in os.environ
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", SECONDS_TO_SAVE)
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    options = run.parse_args(arguments)
    if not threads_were_given:
        from .hardware import settle

        settle(int(options.nproc_per_node))
    with tempfile.TemporaryDirectory(prefix="serin-failures-") as folder:
        os.environ[failures.FOLDER] = folder
        watch_over_children(lambda process, seconds: failures.stopped(rank_of(process), seconds))
        try:
            run.run(options)
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            print(f"rank {rank} ended first, with exit code {failure.exitcode}", file=sys.stderr, flush=True)
            killed = {rank: -one.exitcode for rank, one in error.failures.items() if one.exitcode < 0}
            code = told(Path(folder), killed)
            if failures.only_lost_a_peer(Path(folder), killed):
                let_the_peer_end_first(SignalException)
            return code or exit_code(failure.exitcode)
        except SignalException as error:
            print(f"stopped by {signal.Signals(error.sigval).name}", file=sys.stderr, flush=True)
            return EXIT_TRY_AGAIN
    return 0


def told(folder: Path, killed: dict[int, int]) -> int:
    """Lets the pod say what the process said that began it; returns that one's exit code, or 0 when nobody said anything."""
    try:
        first = failures.first(folder, killed)
        if first is None:
            return 0
        write_termination_log(first.document)
    except (OSError, ValueError, KeyError) as error:
        print(f"what the processes said could not be told: {error}", file=sys.stderr, flush=True)
        return 0
    return first.exit_code


def let_the_peer_end_first(asked: type[BaseException]) -> None:
    """The first pod of a Job that fails has the others deleted, and with them what they would have said.

    So a pod that failed only because another did gives that one some seconds to end with its own words and reason, such as
    OOMKilled. It is deleted meanwhile, where that happens.
    """
    with contextlib.suppress(asked, SystemExit):
        time.sleep(SECONDS_FOR_THE_PEER)


def exit_code(child: int) -> int:
    """A process's exit code as a shell would tell it: death by a signal is 128 and its number."""
    if child < 0:
        return 128 - child
    return child or EXIT_UNKNOWN


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # All is written. Taking torch down in good order takes seconds, in which the next attempt waits.
    os._exit(code)
