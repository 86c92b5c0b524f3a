"""`python -m serin_server --config FILE`: check config and model, then serve; say by the exit code what was wrong.

With `--verify-only` it ends after the check: an init container that stands before a server which cannot check by itself.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from serin_server.config import Placed, ServeConfig, load
from serin_server.errors import StartError
from serin_server.result import failure, report
from serin_server.verify import local_path, verify, verify_base

log = logging.getLogger("serin_server")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve; a reason not to becomes a result document and an exit code."""
    arguments = argparse.ArgumentParser(prog="serin_server", description="Serves one model over OpenAI's API.")
    arguments.add_argument("--config", type=Path, required=True, help="the JSON file described in the contract")
    arguments.add_argument("--verify-only", action="store_true", help="prove the model's files, and end")
    given = arguments.parse_args(argv)
    path: Path = given.config
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(message)s")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    key = ""
    try:
        config = load(path)
        key = config.key
        if given.verify_only:
            _verified(config)
        else:
            _serve(config)
    except StartError as error:
        log.error("%s: %s %s", error.reason, error.message, error.advice)
        report(failure(key, error))
        return error.exit_code
    return 0


def _verified(config: ServeConfig) -> tuple[Path, Path | None]:
    """The model's folder and that of an adapter's base, once every file in them has its digest; another server may
    follow in the same pod."""
    model = config.model
    folder = _folder(model)
    verify(folder, model.digest, model.uri)
    log.info("model=%s revision=%s is verified", model.uri, config.revision)
    if model.base is None:
        return folder, None
    base = _folder(model.base)
    verify_base(folder, base, model.base.digest, model.base.uri)
    log.info("base=%s is verified", model.base.uri)
    return folder, base


def _folder(placed: Placed) -> Path:
    return Path(placed.path) if placed.path is not None else local_path(placed.uri)


def _serve(config: ServeConfig) -> None:
    began = time.monotonic()
    folder, base = _verified(config)
    # Only now: torch takes seconds to import, and a damaged model should be told at once.
    import torch

    from serin_server.app import Service
    from serin_server.batch import Batch
    from serin_server.engine import Engine
    from serin_server.languages import identifier
    from serin_server.metrics import Metrics
    from serin_server.model import load as load_model
    from serin_server.serving import serve
    from serin_server.threads import usable_cpus

    torch.set_num_threads(usable_cpus())
    model = load_model(folder, config.model.uri, base)
    metrics = Metrics(config.model.name, config.revision)
    engine = Engine(Batch(model.model), model.end_tokens, metrics, config.max_queue, model.context)
    model.warm_up()
    identifier()
    engine.start()
    took = time.monotonic() - began
    log.info("listening on port %d after %.1f s with %d threads", config.port, took, torch.get_num_threads())
    serve(Service(config, model, engine, metrics))
    engine.stop()
    log.info("everything is answered")


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)  # all is written; taking torch's thousands of modules apart would cost seconds on a busy node
