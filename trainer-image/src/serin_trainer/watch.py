"""Watches a training run: metrics, finite losses, complete checkpoints, and stopping when asked to.

Everything that all processes must agree on (stop now, loss is not finite) is agreed here by a collective, so that no
process waits for one that has left.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback

from . import checkpoint
from .config import TrainConfig
from .errors import DataError, StageError
from .gpu import gpu_use
from .health import Judge
from .metrics import TrainMetrics
from .publishing import Publisher
from .result import Warned
from .telling import Teller
from .trackers import Trackers
from .tracking import Curves
from .watchdog import Beats, Watchdog

LAST_LOSSES = 10

# DeepSpeed leaves out a step whose gradients are not finite. Once may be chance; so many in a row is a run that
# learns nothing any more, though its loss stays a number.
LOST_STEPS = 5


class _Processes:
    """All processes of the run, as `publishing.py` wants them."""

    @property
    def rank(self) -> int:
        return dist.get_rank()

    @property
    def size(self) -> int:
        return dist.get_world_size()

    def meet(self) -> None:
        dist.barrier()

    def from_first(self, value: Any) -> Any:
        given = [value]
        dist.broadcast_object_list(given, src=0)
        return given[0]

    def to_first(self, value: Any) -> list[Any]:
        found: list[Any] | None = [None] * self.size if self.rank == 0 else None
        dist.gather_object(value, found, dst=0)
        return found or []


class Watch(TrainerCallback):
    def __init__(
        self,
        output: Path,
        total_steps: int,
        tokens_until: Callable[[int], int],
        resumed_step: int,
        config: TrainConfig,
        give_up: Callable[[StageError], None],
        tellers: Sequence[Teller[Any]] = (),
    ) -> None:
        self._output = output
        self._validates = bool(config.validates)
        self._judge = Judge(config.early_stopping, config.health)
        self._validated: tuple[int, float] | None = None
        self._total = total_steps
        self._tokens_until = tokens_until
        self._first_step = resumed_step
        self._logged: list[tuple[float, int]] = []
        self._losses: list[float] = []
        self._first_loss: float | None = None
        self._lost_steps = 0
        self._asked_to_stop = False
        self._began = self._ended = self._stands_since = 0.0
        self._metrics = TrainMetrics(self._losses)
        self._beats = Beats(config.health.hung_after_seconds)
        self._watchdog = Watchdog(self._beats, give_up)
        self.interrupted = False
        self.divided_from = 0  # how many processes saved what this attempt goes on from, when they were not as many
        self.leads = dist.get_rank() == 0
        self._publisher = Publisher(output, config.checkpoints, _Processes(), self.say)
        self._trackers: Trackers | None = None
        signal.signal(signal.SIGTERM, self._on_sigterm)
        if self.leads:
            self._trackers = Trackers(Curves(output, config.attempt), tellers, self._metrics.warnings, self.say)
            self._metrics.total_steps.set(total_steps)
            self._metrics.step.set(resumed_step)
            self._metrics.serve()

    def say(self, text: str) -> None:
        if self.leads:
            print(text, flush=True)

    def finite(self, what: str, value: float) -> float:
        """The value, or the end of the run. Losses are averages over all processes, so all of them end here."""
        if not math.isfinite(value):
            raise DataError(
                "LossNotFinite",
                f"the {what} is {value} after {self._last_step()} of {self._total} steps",
                "lower learningRate, raise warmupRatio, or look at the data for rows that are not text",
            )
        if self.leads and what.startswith("validation"):
            self._metrics.show_eval_loss(value)
        return value

    def losses(self) -> tuple[float, float]:
        """The first loss of the run, and the mean of the last few, which a single batch does not sway."""
        last = self._losses[-LAST_LOSSES:]
        return round(self._first_loss or self._losses[0], 5), round(sum(last) / len(last), 5)

    def tokens_per_second(self) -> float:
        """Of this attempt, from its first step to its last, checkpoints included."""
        done = self._tokens_until(self._last_step()) - self._tokens_until(self._first_step)
        return done / max(1e-9, self._ended - self._began)

    @property
    def enough(self) -> str:
        """Why the run ended before its last step; empty when it did not."""
        return self._judge.enough

    @property
    def warnings(self) -> list[Warned]:
        failure = self._trackers and self._trackers.failure
        return [*self._judge.warnings, failure] if failure else self._judge.warnings

    @property
    def run_pages(self) -> Mapping[str, str]:
        """Where tracking servers show the run, by what they are called."""
        return self._trackers.pages if self._trackers is not None else {}

    def finish_telling(self, status: str | None, within: float = 10.0) -> None:
        """The tracking servers' last words on this attempt; without a status the run goes on in another one."""
        if self._trackers is not None:
            self._trackers.finish(status, within)

    def recall(self, history: list[dict[str, Any]]) -> None:
        """Takes in what earlier attempts logged up to the checkpoint that this one resumes from."""
        for entry in history:
            if "loss" in entry:
                self._note_loss(entry["loss"])
            if "eval_loss" in entry:
                self._validated = (entry["step"], entry["eval_loss"])
        self._judge.recall(history)
        for found in self._judge.warnings:
            self._warn(found)
        if self._trackers is not None:
            self._trackers.begin(history)

    # The Trainer's events, in the order of a step.

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._began = self._ended = time.monotonic()
        self._beats.begin(self._began, state.global_step)
        self._watchdog.start()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._beats.step_began(time.monotonic())

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._beats.moved(time.monotonic())

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._beats.moved(time.monotonic())

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._publisher.settle()
        self._beats.end()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self._ended = time.monotonic()
        self._stands_since = self._ended
        stop, anyone_hashes = self._of_anyone(self._asked_to_stop, self._publisher.hashing)
        self._publisher.step_ended(anyone_hashes=anyone_hashes)
        if self.leads and self.divided_from and state.global_step == self._first_step + 1:
            # All processes have loaded it: they have agreed at the end of a step.
            checkpoint.remove_resized(self._output)
        if stop:
            self.interrupted = True
            control.should_save = control.should_training_stop = True
        if state.global_step >= self._total:
            self.interrupted = False
            control.should_save = True
        if self._validates and (control.should_save or state.global_step % args.save_steps == 0):
            # Which checkpoint is the best, and whether more steps help, only a validation loss measured beside it can say.
            control.should_evaluate = not self.interrupted
        busy = control.should_save or control.should_evaluate or control.should_training_stop
        self._beats.step_ended(time.monotonic(), state.global_step, busy=busy)
        if control.should_save:
            # One at a time: a volume with room for one more than are kept is enough.
            self._publisher.settle()
        return control

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float] | None = None, **_: Any
    ) -> Any:
        if metrics and "eval_loss" in metrics:
            self._stands_since = time.monotonic()  # what it took to measure is no part of what it takes to save
            self._validated = (state.global_step, self.finite("validation loss", metrics["eval_loss"]))
            self._consider({"step": state.global_step, "eval_loss": metrics["eval_loss"]})
            if self.enough and state.global_step < self._total:
                control.should_save = control.should_training_stop = True
        return control

    def validation_loss(self, step: int) -> float | None:
        """The one measured at that very step, if it was."""
        return self._validated[1] if self._validated and self._validated[0] == step else None

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if not logs or not logs.keys() & {"loss", "eval_loss"}:
            return
        # The checkpoint holds the log, so a later attempt knows these too.
        entry = state.log_history[-1]
        entry["time"] = round(time.time(), 3)
        if "loss" in logs:
            self._logged.append((time.monotonic(), state.global_step))
            entry["tokens_per_second"] = round(self._rate(), 1)
        if self._trackers is not None:
            self._trackers.add(entry)
        if "loss" not in logs:
            return
        self._note_loss(self.finite("training loss", float(logs["loss"])))
        self._note_gradient(float(logs.get("grad_norm") or 0.0))
        if self.leads:
            self._show(state.global_step, entry)
        self._consider({"step": state.global_step, "loss": logs["loss"]})

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called on every process after all files of a checkpoint are written by it."""
        self._publisher.begin(state.global_step, self.validation_loss(state.global_step), self._stands_since)

    def _consider(self, entry: dict[str, Any]) -> None:
        found = self._judge.note(entry)
        if found is not None:
            self._warn(found)

    def _warn(self, found: Warned) -> None:
        self.say(f"warning: {found.reason}: {found.message}")
        if self.leads:
            self._metrics.warnings.labels(found.reason, found.message).set(1)

    def _note_loss(self, loss: float) -> None:
        if self._first_loss is None:
            self._first_loss = loss
        self._losses.append(loss)

    def _note_gradient(self, norm: float) -> None:
        self._lost_steps = 0 if math.isfinite(norm) else self._lost_steps + 1
        if self._lost_steps == LOST_STEPS:
            self.finite(f"gradient norm for {LOST_STEPS} logged steps in a row", norm)

    def _last_step(self) -> int:
        return self._logged[-1][1] if self._logged else self._first_step

    def _on_sigterm(self, _number: int, _frame: Any) -> None:
        self._asked_to_stop = True
        self._beats.asked_to_stop(time.monotonic())

    def _of_anyone(self, *own: bool) -> list[bool]:
        """What is so in at least one process: only one of the pods may have been told to stop, and saving takes all of them."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        found = torch.tensor([int(one) for one in own], device=device)
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
        return [bool(one) for one in found.tolist()]

    def _rate(self) -> float:
        """Tokens a second since the entry before."""
        now, step = self._logged[-1]
        since, from_step = self._logged[-2] if len(self._logged) > 1 else (self._began, self._first_step)
        return (self._tokens_until(step) - self._tokens_until(from_step)) / max(1e-9, now - since)

    def _show(self, step: int, logs: dict[str, float]) -> None:
        now, rate = self._logged[-1][0], logs["tokens_per_second"]
        eta = (self._total - step) * (now - self._began) / max(1, step - self._first_step)
        metrics = self._metrics
        metrics.step.set(step)
        metrics.show_loss(logs["loss"])
        metrics.learning_rate.set(logs.get("learning_rate", float("nan")))
        metrics.gradient_norm.set(logs.get("grad_norm", float("nan")))
        metrics.tokens_per_second.set(rate)
        metrics.eta_seconds.set(eta)
        metrics.show_gpu(gpu_use())
        print(
            f"step {step}/{self._total} loss {logs['loss']:.4f} lr {logs.get('learning_rate', 0.0):.2e} "
            f"grad {float(logs.get('grad_norm') or 0.0):.3f} {rate:.0f} tokens/s eta {eta:.0f} s",
            flush=True,
        )
