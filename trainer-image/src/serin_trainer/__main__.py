"""The entry of the image: reads the wish, does its stage, reports, and ends with the code that says whose turn it is.

Stages are imported when they are asked for: torch takes seconds to import, and Prepare has no use for it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from . import config as configs
from . import failures
from .config import AnyConfig, ConsolidateConfig, CopyConfig, PrepareConfig, TrainConfig
from .errors import EXIT_DONE, TryAgainError
from .result import Result, finished, report
from .uris import pvc_path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m serin_trainer")
    parser.add_argument("--config", type=Path, required=True)
    path: Path = parser.parse_args(arguments).config
    output: Path | None = None
    # As process 1 of a pod this would otherwise be ignored, and then be killed; training replaces it by saving first.
    signal.signal(signal.SIGTERM, _stop)
    try:
        config = configs.load(path)
        output = pvc_path(config.output)
        # A bucket is not ours alone: what was copied once may be another by now, and is looked at again.
        result = finished(output, config.key) if not isinstance(config, CopyConfig) else None
        if result is not None:
            print(f"{config.stage} {config.key} is already finished: {result.message}", flush=True)
            failures.speak(result, None)
            return EXIT_DONE
        result = run(config)
        if result is not None:
            report(result, output)
            print(result.message, flush=True)
    except BaseException as error:
        return failures.fail(*configs.identity(path), output, error)
    return EXIT_DONE


def run(config: AnyConfig) -> Result | None:
    """Does the stage; None where another process reports."""
    if isinstance(config, PrepareConfig):
        from .prepare import prepare

        return prepare(config)
    if isinstance(config, TrainConfig):
        from .train import train

        return train(config)
    if isinstance(config, CopyConfig):
        from .copying import copy

        return copy(config)
    assert isinstance(config, ConsolidateConfig)
    from .consolidate import consolidate

    return consolidate(config)


def _stop(_number: int, _frame: object) -> None:
    raise TryAgainError(
        "Interrupted", "asked to stop before the stage was done", "nothing: the next attempt does it again"
    )


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # Interpreter shutdown after a failed collective can wait for peers that are gone; everything is written by now.
        os._exit(code)
    sys.exit(code)
