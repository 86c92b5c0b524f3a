"""Packed rows are learned as if each stood alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from serin_trainer.data import Collator, Sequences, write_sequences
from serin_trainer.errors import ConfigError
from serin_trainer.packing import packed
from serin_trainer.tokens import Sequence


def row(*ids: int) -> Sequence:
    return Sequence(list(ids), [False, *[True] * (len(ids) - 1)])


ROWS = [row(*range(first, first + length)) for first, length in ((3, 9), (40, 5), (90, 7), (11, 3), (200, 8))]


def _read(path: Path, sequences: list[Sequence]) -> Sequences:
    write_sequences(path, sequences)
    return Sequences(path)


@pytest.fixture(scope="module")
def model(claims: Any) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(claims.path("pvc://models/base")).train()


def test_the_beginnings_survive_the_file(tmp_path: Path) -> None:
    read = _read(tmp_path / "a.safetensors", packed(ROWS, 16))
    assert read.packed
    assert [read[index]["starts"].tolist() for index in range(len(read))] == [[0, 9], [0, 8, 13]]
    apart = _read(tmp_path / "b.safetensors", ROWS)
    assert not apart.packed
    assert [apart[index]["starts"].tolist() for index in range(len(apart))] == [[0]] * 5


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_rows_have_the_losses_and_gradients_of_rows_apart(tmp_path: Path, model: Any, attention: str) -> None:
    import torch

    model.set_attn_implementation(attention)

    def learn(sequences: list[Sequence]) -> tuple[float, Any]:
        read = _read(tmp_path / f"{len(sequences)}.safetensors", sequences)
        batch = Collator(0, packed=read.packed)([read[index] for index in range(len(read))])
        model.zero_grad()
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        return loss.item(), model.model.embed_tokens.weight.grad.clone()

    apart, gradients_apart = learn(ROWS)
    together, gradients_together = learn(packed(ROWS, 24))
    assert together == pytest.approx(apart, rel=1e-5)
    torch.testing.assert_close(gradients_together, gradients_apart, rtol=1e-4, atol=1e-6)


def test_without_the_positions_rows_would_see_each_other(tmp_path: Path, model: Any) -> None:
    """The check above can fail: it does when the separation is taken away."""
    read = _read(tmp_path / "a.safetensors", packed(ROWS, 24))
    batch = Collator(0, packed=True)([read[index] for index in range(len(read))])
    apart = model(**batch, use_cache=False).loss.item()
    del batch["position_ids"]
    assert model(**batch, use_cache=False).loss.item() != pytest.approx(apart, rel=1e-4)


def test_training_on_packed_rows_takes_fewer_steps_and_learns(claims: Any) -> None:
    prepared = claims.prepare(key="3c0001", output="pvc://artifacts/prepare-packed", data__packing="Isolated")
    counts = prepared["output"]["rows"]
    sequences = Sequences(claims.path(prepared["output"]["dataUri"]) / "train.safetensors")
    assert sequences.packed
    assert len(sequences) < counts["train"] == 52
    assert sum(sequences.lengths) == prepared["output"]["tokens"]["train"]
    config = claims.train_config(
        prepared, key="4c0001", output="pvc://artifacts/train-packed", hyperparameters__batchSize=4
    )
    output = claims.run(config)["output"]
    assert output["trainLossLast"] < output["trainLossFirst"]
    assert output["evalLoss"] < output["trainLossFirst"]


def test_a_model_that_reads_one_row_into_the_next_is_refused() -> None:
    from serin_trainer.model import refuse_mixing_rows
    from transformers import BloomConfig, BloomForCausalLM, MambaConfig, MambaForCausalLM

    small = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 1}
    mamba = MambaForCausalLM(MambaConfig(**small, state_size=4))
    bloom = BloomForCausalLM(BloomConfig(vocab_size=32, hidden_size=16, n_layer=1, n_head=2))
    for model in (mamba, bloom):
        with pytest.raises(ConfigError, match="rows cannot be packed") as refusal:
            refuse_mixing_rows(model)
        assert "data.packing to None" in refusal.value.advice
