"""Train: the transformers Trainer with DeepSpeed, one process of many under torchrun.

Chooses the plan from config and hardware, resumes from the newest whole checkpoint, and turns the run into a result.
Watching the run step by step is `watch.py`'s business, trusting checkpoints is `checkpoint.py`'s.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import checkpoint, facts, failures, hardware, manifest, meeting, tracking
from .config import TrainConfig
from .data import TRAIN, VALIDATION, Collator, InOrder, Sequences, training_order
from .deepspeed_config import deepspeed_config, zero_stage
from .errors import ConfigError, DataError, StageError, TryAgainError, naming_lost_peers
from .estimate import parameters
from .guideline import learning_rate
from .result import Result, TrainOutput, succeeded
from .uris import model_directory, pvc_path

MLFLOW, WANDB = "MLflow", "W&B"  # as people read of them


@dataclass(frozen=True)
class Plan:
    """What this run will do, known before the first step."""

    config: TrainConfig
    output: Path
    precision: hardware.Precision
    world: int
    total_steps: int
    order: list[int]
    lengths: list[int]
    learning_rate: str
    learning_rate_reason: str  # empty where the job gives the rate

    @property
    def rows_per_step(self) -> int:
        return self.config.rows_per_step

    @property
    def warmup_steps(self) -> int:
        wish = self.config.hyperparameters
        if wish.warmup_steps is not None:
            return wish.warmup_steps
        return round(float(wish.warmup_ratio or 0) * self.total_steps)

    def tokens_until(self, step: int) -> int:
        """Training tokens of the first `step` steps, padding not counted; every process knows them without asking."""
        return sum(self.lengths[index] for index in self.order[: step * self.rows_per_step])


def train(config: TrainConfig) -> Result | None:
    """The result on rank 0, None on the other processes."""
    started = time.monotonic()
    hardware.settle(config.distribution.processes_per_node)
    _check_world(config)
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    with meeting.within(meeting.LIMIT_SECONDS, _give_up(config)):
        _join()
    data = _verified_data(config)
    sequences, validation = Sequences(data / TRAIN), Sequences(data / VALIDATION)
    if config.validates and not validation.lengths:
        raise ConfigError(
            "InvalidConfig",
            f"{config.validates} needs validation rows, and the split left none",
            f"raise data.split.validationPercent, or leave {config.validates} out",
        )
    wanted = config.hyperparameters.precision
    precision = hardware.precision(wanted, hardware.has_accelerator(), hardware.computes_bf16())
    plan = make_plan(config, sequences.lengths, precision)
    trainer = _trainer(plan, sequences, validation)
    resumed = _agree_on_checkpoint(plan)
    watch = _watch(trainer, plan, resumed)
    watch.say(f"ready after {time.monotonic() - started:.0f} s: {describe(plan)}")
    watch.say(f"curves for TensorBoard: {config.output}/{tracking.FOLDER}")
    if files := _wandb_files(config):
        watch.say(f"files for wandb sync: {files}")
    with _telling_how_it_ends(watch):
        reached = _run(trainer, plan, watch, resumed)
        if watch.interrupted:
            raise TryAgainError(
                "Interrupted", f"asked to stop at step {reached} of {plan.total_steps}; the state is saved"
            )
        evaluated = _evaluate(trainer, watch, reached)
    return _result(plan, watch, resumed, evaluated, reached) if trainer.is_world_process_zero() else None


@contextmanager
def _telling_how_it_ends(watch: Any) -> Iterator[None]:
    """To the tracking servers, if there are any. What only another attempt can go on with has not ended."""
    try:
        yield
    except (ConfigError, DataError):
        watch.finish_telling("FAILED", within=3.0)  # its peers have failed too, and this one is soon told to go
        raise
    except TryAgainError:
        watch.finish_telling(None, within=5.0)
        raise
    watch.finish_telling("FINISHED")


def _run(trainer: Any, plan: Plan, watch: Any, resumed: checkpoint.Checkpoint | None) -> int:
    """Trains from the resumed step on; returns the step that was reached."""
    watch.recall(checkpoint.history(resumed) if resumed else [])
    if resumed is not None and watch.enough:
        # An earlier attempt had ended early, and only its result was lost.
        return resumed.step
    with naming_lost_peers():
        start = _as_if_saved_by_as_many(plan, resumed, watch) if resumed else None
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    return int(trainer.state.global_step)


def _as_if_saved_by_as_many(plan: Plan, resumed: checkpoint.Checkpoint, watch: Any) -> Path:
    """The folder to load from: the checkpoint, or its states divided anew when other processes than these saved it."""
    import torch.distributed as dist

    from . import resize

    before = resize.processes_of(resumed)
    if before == plan.world:
        return resumed.path
    resize.refuse(plan.config)
    watch.divided_from = before
    watch.say(
        f"{resumed.path.name} was saved by {before} processes and is resumed by {plan.world}: its states are divided anew"
    )
    target = plan.output / checkpoint.RESIZED / resumed.path.name
    resize.divide(resumed, target, dist.get_rank(), plan.world, resize.sub_group_size(plan.config))
    dist.barrier()
    return target


def make_plan(config: TrainConfig, lengths: list[int], precision: hardware.Precision) -> Plan:
    wish = config.hyperparameters
    steps_per_epoch = math.ceil(len(lengths) / config.rows_per_step)
    limits = [wish.max_steps, wish.epochs and wish.epochs * steps_per_epoch]
    total = min(limit for limit in limits if limit)
    # Rows of one micro-step of all processes share a length; the Trainer deals batches out to processes in turn. With a
    # global batch those of a whole step do, so that each step has the same rows on any number of processes.
    together = wish.global_batch_size or wish.batch_size * config.world
    order = training_order(lengths, together, total * config.rows_per_step // together, wish.seed)
    rate, reason = wish.learning_rate, ""
    if rate is None:
        found = learning_rate(config.method.type, parameters(model_directory(config.base_model.uri)))
        rate, reason = found.rate, found.reason
    return Plan(config, pvc_path(config.output), precision, config.world, total, order, lengths, rate, reason)


def describe(plan: Plan) -> str:
    wish = plan.config
    offloaded = {"Optimizer": "optimizer offloaded, ", "OptimizerAndParameters": "optimizer and weights offloaded, "}
    aside = offloaded.get(wish.distribution.offload or "", "")
    held = "linear layers in 4 bits (NF4), " if wish.method.quantised else ""
    again = "activations computed again, " if wish.hyperparameters.gradient_checkpointing else ""
    return (
        f"{plan.total_steps} steps of {plan.rows_per_step} rows ({plan.config.accumulation} batches of"
        f" {wish.hyperparameters.batch_size} in each of {plan.world} processes), "
        f"ZeRO stage {zero_stage(wish, plan.precision)}, {plan.precision}, {held}{aside}{again}"
        f"{os.environ['OMP_NUM_THREADS']} threads each, attempt {wish.attempt}"
        + (f"; {plan.learning_rate_reason}" if plan.learning_rate_reason else "")
    )


def _check_world(config: TrainConfig) -> None:
    wanted = config.world
    given = int(os.environ.get("WORLD_SIZE", "1"))
    if wanted != given:
        raise ConfigError(
            "InvalidConfig",
            f"distribution asks for {wanted} processes, but {given} were started",
            "start the stage with python -m serin_trainer.torchrun and the same numbers",
        )


def _join() -> None:
    """Makes the process group. It comes first: loading a model for ZeRO 3 already shards it among the processes."""
    import deepspeed
    import torch

    if hardware.has_accelerator():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    deepspeed.init_distributed(dist_backend="nccl" if hardware.has_accelerator() else "gloo")


def _verified_data(config: TrainConfig) -> Path:
    directory = pvc_path(config.data_uri)
    if not (directory / TRAIN).is_file():
        raise DataError(
            "DataNotFound", f"no prepared data lie at {config.data_uri}", "prepare again: edit the job's data"
        )
    # One process of each pod looks; the others would read the same bytes.
    if os.environ.get("LOCAL_RANK", "0") == "0" and manifest.digest_of(directory) != config.data_digest:
        raise DataError(
            "DataDamaged",
            f"the prepared data at {config.data_uri} have changed since they were prepared",
            "edit the job's data to prepare again, and keep other writers off the artifacts claim",
        )
    return directory


def _trainer(plan: Plan, sequences: Sequences, validation: Sequences) -> Any:
    from transformers import PrinterCallback, TrainingArguments, set_seed

    from .model import load_base, refuse_mixing_rows, refuse_too_long, verified_directory, with_method
    from .tokens import load_tokenizer
    from .trainer import SerinTrainer

    # Made before the model is loaded: with ZeRO 3 it is what makes loading shard the weights at once.
    arguments = TrainingArguments(**_arguments(plan))
    directory = verified_directory(plan.config.base_model)
    set_seed(plan.config.hyperparameters.seed)
    model = with_method(load_base(directory, _dtype(plan.precision), plan.config.method), plan.config.method)
    refuse_too_long(model, plan.config.method, max([*sequences.lengths, *validation.lengths]))
    if sequences.packed:
        _refuse_packing(plan.config)
        refuse_mixing_rows(model)
    model.config.use_cache = False
    if plan.config.hyperparameters.gradient_checkpointing and plan.config.method.type != "Full":
        # Computing again begins where something asks for a gradient, and of frozen embeddings nothing does.
        model.enable_input_require_grads()
    tokenizer = load_tokenizer(directory)
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    trainer = SerinTrainer(
        model=model,
        args=arguments,
        train_dataset=InOrder(sequences, plan.order),
        eval_dataset=InOrder(validation, _longest_first(validation.lengths)),
        data_collator=Collator(padding or 0, packed=sequences.packed),
    )
    # It prints what `watch.py` says better.
    trainer.remove_callback(PrinterCallback)
    return trainer


def _refuse_packing(config: TrainConfig) -> None:
    if config.method.virtual_tokens:
        raise ConfigError(
            "InvalidConfig",
            "the prepared rows are packed, and the prompt that is learned stands before each row",
            "set data.packing to None",
        )


def _arguments(plan: Plan) -> dict[str, Any]:
    wish = plan.config.hyperparameters
    accelerated = hardware.has_accelerator()
    return {
        "output_dir": str(plan.output),
        "per_device_train_batch_size": wish.batch_size,
        "per_device_eval_batch_size": wish.batch_size,
        "gradient_accumulation_steps": plan.config.accumulation,
        "activation_checkpointing": wish.gradient_checkpointing,
        # ZeRO 3 takes a layer's weights apart after each use; only the older way of computing again puts up with that.
        "activation_checkpointing_kwargs": {"use_reentrant": plan.config.distribution.zero_stage == 3},
        "max_steps": plan.total_steps,
        "learning_rate": float(plan.learning_rate),
        "lr_scheduler_type": {"Cosine": "cosine", "Linear": "linear", "Constant": "constant_with_warmup"}[
            wish.scheduler
        ],
        "warmup_steps": plan.warmup_steps,
        "weight_decay": float(wish.weight_decay),
        "max_grad_norm": float(wish.max_gradient_norm),
        "seed": wish.seed,
        "data_seed": wish.seed,
        "bf16": plan.precision == "bf16",
        "fp16": plan.precision == "fp16",
        "use_cpu": not accelerated,
        "ddp_backend": None if accelerated else "gloo",
        "deepspeed": deepspeed_config(plan.config, plan.precision),
        "save_strategy": "steps",
        "save_steps": wish.save_steps,
        "logging_strategy": "steps",
        "logging_steps": max(1, plan.total_steps // 400),
        "logging_first_step": True,
        # A loss that is not finite must be seen, not smoothed over.
        "logging_nan_inf_filter": False,
        "prediction_loss_only": True,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": accelerated,
        "disable_tqdm": True,
        "report_to": [],
    }


def _dtype(precision: hardware.Precision) -> Any:
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]


def _longest_first(lengths: list[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda index: lengths[index], reverse=True)


def _agree_on_checkpoint(plan: Plan) -> checkpoint.Checkpoint | None:
    """Rank 0 looks and decides, so that all processes start from the same step."""
    import torch.distributed as dist

    choice: list[Any] = [None]
    if dist.get_rank() == 0:
        found, notices = checkpoint.newest_whole(plan.output)
        for notice in notices:
            print(notice, flush=True)
        checkpoint.remove_unfinished_after(plan.output, found.step if found else 0)
        choice = [found]
    dist.broadcast_object_list(choice, src=0)
    return choice[0]


def _watch(trainer: Any, plan: Plan, resumed: checkpoint.Checkpoint | None) -> Any:
    from .watch import Watch

    resumed_step = resumed.step if resumed else 0
    tellers = _tellers(plan) if trainer.is_world_process_zero() else []
    give_up = _give_up(plan.config)
    watch = Watch(plan.output, plan.total_steps, plan.tokens_until, resumed_step, plan.config, give_up, tellers)
    trainer.add_callback(watch)
    return watch


def _tellers(plan: Plan) -> list[Any]:
    """Who tells which tracking server of the run; none where nobody asked for one."""
    wish = plan.config.tracking
    if wish is None:
        return []
    from . import mlflow, weights_and_biases
    from .telling import Facts, Teller

    said = facts.of_the_attempt(plan.config)
    params = facts.of_the_run(plan)
    run = Facts(wish.run, f"{plan.config.job.name}-{plan.config.key}", params, said)
    tellers: list[Any] = []
    if (by_mlflow := wish.mlflow) is not None:
        tellers.append(Teller(MLFLOW, by_mlflow.uri, lambda: mlflow.Server(by_mlflow), run))
    if (by_wandb := wish.wandb) is not None:
        files = plan.output / weights_and_biases.FOLDER
        where = by_wandb.address if by_wandb.mode == "Online" else _wandb_files(plan.config)
        tellers.append(Teller(WANDB, where, lambda: weights_and_biases.Server(by_wandb, files), run))
    return tellers


def _wandb_files(config: TrainConfig) -> str | None:
    """Where the files for `wandb sync` are; None where a server is told instead."""
    from .weights_and_biases import FOLDER

    offline = config.tracking and config.tracking.wandb and config.tracking.wandb.mode == "Offline"
    return f"{config.output}/{FOLDER}" if offline else None


def _give_up(config: TrainConfig) -> Callable[[StageError], None]:
    """How a thread that watches ends this process: it cannot raise in the one that hangs."""

    def end(error: StageError) -> None:
        code = failures.fail("Train", config.key, pvc_path(config.output), error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    return end


def _evaluate(trainer: Any, watch: Any, reached: int) -> float | None:
    if len(trainer.eval_dataset) == 0:
        return None
    measured = watch.validation_loss(reached)
    return measured if measured is not None else watch.finite("validation loss", trainer.evaluate()["eval_loss"])


def _result(
    plan: Plan, watch: Any, resumed: checkpoint.Checkpoint | None, eval_loss: float | None, reached: int
) -> Result:
    config = plan.config
    first, last = watch.losses()
    chosen = _chosen(plan, reached)
    if chosen.step != reached:
        eval_loss = checkpoint.validation_loss(chosen)
    output = TrainOutput(
        checkpoint_uri=f"{config.output}/{chosen.path.name}",
        steps=reached,
        stopped_early=reached < plan.total_steps,
        warnings=watch.warnings,
        train_loss_first=first,
        train_loss_last=last,
        eval_loss=eval_loss,
        tokens=plan.tokens_until(reached),
        tokens_per_second=round(watch.tokens_per_second(), 1),
        world_size=plan.world,
        zero_stage=zero_stage(config, plan.precision),
        precision=plan.precision,
        learning_rate=float(plan.learning_rate),
        resumed_from_step=resumed.step if resumed else None,
        tensorboard_uri=f"{config.output}/{tracking.FOLDER}",
        mlflow_uri=watch.run_pages.get(MLFLOW),
        wandb_uri=watch.run_pages.get(WANDB) or _wandb_files(config),
    )
    again = f", resumed from step {resumed.step}" if resumed else ""
    again += f" of {watch.divided_from} processes" if watch.divided_from else ""
    rate = f"{output.tokens_per_second:.0f} tokens/s in {plan.precision}"
    best = f", the best is of step {chosen.step}" if config.checkpoints.consolidate == "Best" else ""
    message = f"loss {first:.3f} -> {last:.3f} in {reached} steps, {rate}{again}{best}"
    if reached < plan.total_steps:
        message += f"; {watch.enough}"
    if plan.learning_rate_reason:
        message += f"; {plan.learning_rate_reason}"
    message += "".join(f"; {found.message}" for found in watch.warnings)
    return succeeded("Train", config.key, message, output)


def _chosen(plan: Plan, reached: int) -> checkpoint.Checkpoint:
    """The checkpoint that becomes the model: the last step's, or the one with the lowest validation loss."""
    last = checkpoint.Checkpoint(reached, plan.output / f"checkpoint-{reached}")
    if plan.config.checkpoints.consolidate != "Best":
        return last
    best, notices = checkpoint.best_whole(plan.output)
    for notice in notices:
        print(notice, flush=True)
    return best or last
