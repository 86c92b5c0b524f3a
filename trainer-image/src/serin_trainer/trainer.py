"""The transformers Trainer with what Serin does differently: the order of rows is fixed, and shards are saved once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch.utils.data import SequentialSampler
from transformers import Trainer

from . import checkpoint


class SerinTrainer(Trainer):
    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        # The data set already is the order of all epochs (`data.training_order`).
        return SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)

    def _get_output_dir(self, trial: Any) -> str:
        """Where checkpoints are written: a folder in which nobody looks for them, until `watch.py` publishes them."""
        return str(checkpoint.saving(Path(super()._get_output_dir(trial)), self.state.global_step).parent)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Nothing: DeepSpeed's checkpoint holds the weights, and consolidating them is a stage of its own."""
