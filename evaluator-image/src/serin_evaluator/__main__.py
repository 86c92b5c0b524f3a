"""`python -m serin_evaluator --config FILE`: run the stage, write its result, say by the exit code whose turn it is."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from serin_evaluator.config import EvaluateConfig, load
from serin_evaluator.errors import StageError
from serin_evaluator.evaluate import evaluate
from serin_evaluator.progress import serve
from serin_evaluator.result import Result, report, write_atomically
from serin_evaluator.uris import local_path

log = logging.getLogger("serin_evaluator")


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate; a failure of a known kind becomes a result with reason and advice."""
    arguments = argparse.ArgumentParser(prog="serin_evaluator", description="Measures models for the gates of a job.")
    arguments.add_argument("--config", type=Path, required=True, help="the JSON file described in the contract")
    path = arguments.parse_args(argv).config
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(message)s")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    config: EvaluateConfig | None = None
    try:
        config = load(path)
        found, code = evaluate(config), 0
        if found is None:
            return 0
        result = found
    except StageError as error:
        log.error("%s: %s %s", error.reason, error.message, error.advice)
        result, code = _failed(config, error), error.exit_code
    except Exception as error:
        log.exception("unforeseen")
        unforeseen = StageError(
            "Unexpected", f"{type(error).__name__}: {error}", "See the pod's log for the traceback."
        )
        result, code = _failed(config, unforeseen), unforeseen.exit_code
    if code and config:
        _leave_beside_output(config, result)
    report(result)
    log.info("outcome=%s reason=%s %s", result.outcome, result.reason, result.message)
    return code


def _failed(config: EvaluateConfig | None, error: StageError) -> Result:
    return Result(
        key=config.key if config else "",
        outcome="Failed",
        reason=error.reason,
        message=error.message,
        advice=error.advice,
    )


def _leave_beside_output(config: EvaluateConfig, result: Result) -> None:
    """Best effort: the failure may be that very volume, and the termination message still tells."""
    try:
        write_atomically(local_path(config.output) / "result.json", result.encoded())
    except (OSError, StageError) as error:
        log.warning("result.json cannot be written beside the output: %s", error)


if __name__ == "__main__":
    serve()
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)  # all is written; taking torch's thousands of modules apart would cost seconds on a busy node
