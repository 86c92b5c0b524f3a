"""The transformers Trainer with what Serin does differently: the order of rows is fixed, and shards are saved once."""

from __future__ import annotations

from typing import Any

from torch.utils.data import SequentialSampler
from transformers import Trainer


class SerinTrainer(Trainer):
    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        # The data set already is the order of all epochs (`data.training_order`).
        return SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Nothing: DeepSpeed's checkpoint holds the weights, and consolidating them is a stage of its own."""
