"""torchrun, keeping exit codes: `python -m serin_trainer.torchrun <torchrun's flags> -m serin_trainer --config FILE`.

torchrun ends with 1 however its processes ended. The operator decides by the exit code whose turn it is, so the code
of the process that failed first must reach the pod.
"""

from __future__ import annotations

import os
import signal
import sys

from .errors import EXIT_TRY_AGAIN, EXIT_UNKNOWN


def main(arguments: list[str]) -> int:
    # torchrun sets one thread a process when this is unset; how many there should be is `hardware.settle`'s to know.
    threads_were_given = "OMP_NUM_THREADS" in os.environ
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    options = run.parse_args(arguments)
    if not threads_were_given:
        from .hardware import settle

        settle(int(options.nproc_per_node))
    try:
        run.run(options)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        print(f"rank {rank} ended first, with exit code {failure.exitcode}", file=sys.stderr, flush=True)
        return exit_code(failure.exitcode)
    except SignalException as error:
        print(f"stopped by {signal.Signals(error.sigval).name}", file=sys.stderr, flush=True)
        return EXIT_TRY_AGAIN
    return 0


def exit_code(child: int) -> int:
    """A process's exit code as a shell would tell it: death by a signal is 128 and its number."""
    if child < 0:
        return 128 - child
    return child or EXIT_UNKNOWN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
