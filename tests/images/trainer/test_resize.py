"""Going on with another number of processes than saved the checkpoint: the losses of the run that nothing interrupted."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from serin_trainer import checkpoint, resize
from serin_trainer.config import TrainConfig
from serin_trainer.errors import ConfigError
from support.training import LORA, TRAIN, changed

Losses = Callable[[dict[str, Any]], list[float]]


def test_one_process_goes_on_where_two_were_with_the_losses_of_two(claims: Any, full_run: Any, losses: Losses) -> None:
    config = full_run[0]
    again = claims.resized(config, "4f0e21", 1, hyperparameters={**config["hyperparameters"], "globalBatchSize": 16})
    result = claims.run(again)
    assert (result["output"]["resumedFromStep"], result["output"]["worldSize"]) == (4, 1)
    assert "resumed from step 4 of 2 processes" in result["message"]
    assert losses(again) == pytest.approx(losses(config), rel=1e-5)
    assert not (claims.path(again["output"]) / ".resized").exists()


@pytest.mark.parametrize(
    ("key", "before", "after", "more", "bound"),
    [
        pytest.param("4f0e31", 2, 1, {"method": LORA, "distribution__zeroStage": 3}, 1e-5, id="LoRA under ZeRO 3"),
        pytest.param("4f0e12", 1, 2, {"hyperparameters__precision": "BF16"}, 1e-3, id="in 16 bits, one becomes two"),
    ],
)
def test_the_losses_are_those_of_the_uninterrupted_run(
    claims: Any,
    prepared: dict[str, Any],
    losses: Losses,
    key: str,
    before: int,
    after: int,
    more: dict[str, Any],
    bound: float,
) -> None:
    config = claims.train_config(
        prepared,
        key=key + "a0",
        output=f"pvc://artifacts/train-{key}-whole",
        hyperparameters__globalBatchSize=16,
        hyperparameters__scheduler="Cosine",
        hyperparameters__weightDecay="0.1",
        distribution__processesPerNode=before,
        **more,
    )
    claims.run(config)
    again = claims.resized(config, key, after)
    result = claims.run(again)
    assert (result["output"]["resumedFromStep"], result["output"]["worldSize"]) == (4, after)
    assert losses(again) == pytest.approx(losses(config), rel=bound)


class Saved:
    """A checkpoint of two groups of odd-sized weights as DeepSpeed's ZeRO 2 or 3 saves it, of any number of processes.

    Written from the format's description, not with the code under test.
    """

    SHAPES = ({"a": (3, 5), "b": (7,)}, {"c": (2, 2), "d": (1,), "e": (11,)})

    def __init__(self, folder: Path, stage: int, processes: int) -> None:
        self.folder, self.stage, self.processes = folder, stage, processes
        states = folder / "global_step4"
        states.mkdir(parents=True)
        (folder / "latest").write_text("global_step4")
        (folder / "trainer_state.json").write_text("{}")
        shapes = [{name: torch.Size(shape) for name, shape in group.items()} for group in self.SHAPES]
        for rank in range(processes):
            own = f"_{rank}" if processes > 1 else ""
            torch.save({"rank": rank}, folder / f"rng_state{own}.pth")
            model = {"module": {}, "param_shapes": shapes, "dp_world_size": processes, "buffer_names": []}
            if stage == 3:
                frozen = {"f": torch.Size((5,))}
                model |= {
                    "frozen_param_shapes": frozen,
                    "frozen_param_fragments": {"f": self._pieces("f", (5,), 9)[rank]},
                }
                torch.save(model, states / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt")
            elif rank == 0:
                torch.save(model, states / "mp_rank_00_model_states.pt")
            saved = {
                "optimizer_state_dict": self._by_weight(rank) if stage == 3 else self._by_vector(rank),
                "ds_version": "0",
            }
            torch.save(saved, states / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")

    def _numbers(self, name: str, shape: tuple[int, ...], kind: int) -> torch.Tensor:
        return torch.arange(math.prod(shape), dtype=torch.float32) + 100 * ord(name) + kind / 8

    def _pieces(self, name: str, shape: tuple[int, ...], kind: int) -> list[torch.Tensor]:
        each = math.ceil(math.prod(shape) / self.processes)
        whole = torch.zeros(each * self.processes)
        whole[: math.prod(shape)] = self._numbers(name, shape, kind)
        return list(whole.split(each))

    def _by_weight(self, rank: int) -> dict[str, Any]:
        def flat(kind: int) -> list[torch.Tensor]:
            return [torch.cat([self._pieces(n, s, kind)[rank] for n, s in group.items()]) for group in self.SHAPES]

        return {
            "partition_count": self.processes,
            "fp32_flat_groups": flat(0),
            "optimizer_state_dict": _adam(flat(1), flat(2)),
        }

    def _by_vector(self, rank: int) -> dict[str, Any]:
        def flat(kind: int, filled: bool) -> list[torch.Tensor]:
            found = []
            for group in self.SHAPES:
                vector = torch.cat([self._numbers(name, shape, kind) for name, shape in group.items()])
                each = math.ceil(vector.numel() / (2 * self.processes)) * 2
                part = vector[rank * each : (rank + 1) * each]
                found.append(torch.cat([part, torch.zeros(each - part.numel())]) if filled else part)
            return found

        return {
            "partition_count": [self.processes] * len(self.SHAPES),
            "single_partition_of_fp32_groups": [part.clone() for part in flat(0, filled=False)],
            "group_paddings": [a.numel() - b.numel() for a, b in zip(flat(0, True), flat(0, False), strict=True)],
            "param_slice_mappings": [],
            "base_optimizer_state": _adam(flat(1, filled=True), flat(2, filled=True)),
        }


def _adam(first: list[torch.Tensor], second: list[torch.Tensor]) -> dict[str, Any]:
    return {
        "state": {
            number: {"step": torch.tensor(4.0), "exp_avg": one, "exp_avg_sq": other}
            for number, (one, other) in enumerate(zip(first, second, strict=True))
        },
        "param_groups": [{"lr": 0.1, "params": [number]} for number in range(len(first))],
    }


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return one == other


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3), (3, 2), (4, 1), (1, 4)])
def test_what_is_divided_is_bit_for_bit_what_so_many_processes_would_have_saved(
    tmp_path: Path, stage: int, before: int, after: int
) -> None:
    saved, wanted = Saved(tmp_path / "a" / "checkpoint-4", stage, before), Saved(tmp_path / "b", stage, after)
    target = tmp_path / "c"
    for rank in range(after):
        resize.divide(checkpoint.Checkpoint(4, saved.folder), target, rank, after)
    names = [path.relative_to(target) for path in target.rglob("*") if path.is_file()]
    assert sorted(names) == sorted(
        path.relative_to(wanted.folder) for path in wanted.folder.rglob("*") if path.is_file()
    )
    for name in names:
        if "states" in name.name:
            one, other = (torch.load(folder / name, weights_only=False) for folder in (target, wanted.folder))
            assert _alike(one, other), name
    assert resize.processes_of(checkpoint.Checkpoint(4, target)) == after


def test_a_process_too_many_goes_on_with_the_random_numbers_of_another(tmp_path: Path) -> None:
    saved = checkpoint.Checkpoint(4, Saved(tmp_path / "checkpoint-4", 2, 2).folder)
    for rank in range(3):
        resize.divide(saved, tmp_path / "three", rank, 3)
    resize.divide(saved, tmp_path / "one", 0, 1)
    assert [torch.load(tmp_path / "three" / f"rng_state_{rank}.pth")["rank"] for rank in range(3)] == [0, 1, 0]
    assert torch.load(tmp_path / "one" / "rng_state.pth")["rank"] == 0


def test_zero_3_steps_through_as_many_weights_at_once_as_it_would_have(tmp_path: Path) -> None:
    saved = checkpoint.Checkpoint(4, Saved(tmp_path / "checkpoint-4", 3, 2).folder)
    resize.divide(saved, tmp_path / "one", 0, 1, sub_group=10)
    states = torch.load(tmp_path / "one/global_step4/zero_pp_rank_0_mp_rank_00_optim_states.pt", weights_only=False)
    found = states["optimizer_state_dict"]
    assert [vector.numel() for vector in found["fp32_flat_groups"]] == [15, 7, 16]
    assert [group["params"] for group in found["optimizer_state_dict"]["param_groups"]] == [[0, 1], [2]]
    assert found["optimizer_state_dict"]["state"][1]["exp_avg"][0] == 100 * ord("b") + 1 / 8


def test_an_order_of_weights_that_depends_on_the_processes_is_refused() -> None:
    overridden = {"zero_optimization.round_robin_gradients": "true"}
    config = TrainConfig.model_validate(changed(TRAIN, {"distribution.configOverride": overridden}))
    with pytest.raises(ConfigError, match="round_robin_gradients orders the weights by it"):
        resize.refuse(config)
    resize.refuse(TrainConfig.model_validate(TRAIN))
