"""How fast a model answers, and with how much memory: one prompt at a time, greedily, on the machine that this pod is on.

One at a time, because then the numbers are of the model and not of who happens to share its batch. They are this machine's:
never kept between evaluations, and compared only with those of a model measured by the same pod. Not here: metrics.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from transformers import DynamicCache

from serin_evaluator.generation import Answer, Limits
from serin_evaluator.measured import Speed

WARM_UP: Final = 2
"""Answers before the clock counts: the first ones pay for allocations and caches."""


def measure_speed(
    model: Any,
    decode: Callable[[Sequence[int]], str],
    prompts: Mapping[int, Sequence[int]],
    limits: Limits,
    progress: Callable[[int], None] = lambda done: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[int, Speed]:
    """The speed of the model's answer to each prompt, by id."""
    for prompt in list(prompts.values())[:WARM_UP]:
        _answer(model, prompt, Answer(limits, decode), clock)
    measured: dict[int, Speed] = {}
    for one, prompt in prompts.items():
        _begin_peak(model.device)
        measured[one] = _answer(model, prompt, Answer(limits, decode), clock)
        progress(len(measured))
    return measured


@torch.inference_mode()
def _answer(model: Any, prompt: Sequence[int], answer: Answer, clock: Callable[[], float]) -> Speed:
    tokens = torch.tensor([list(prompt)], device=model.device)
    cache = DynamicCache()
    began = clock()
    first = began
    produced = 0
    while not answer.finish:
        logits = model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        chosen = logits.argmax(-1)
        token = int(chosen.item())  # waits for the device
        produced += 1
        if produced == 1:
            first = clock()
        answer.take(token)
        tokens = chosen.unsqueeze(1)
    return Speed(first - began, clock() - first, produced, _peak(model.device))


def _begin_peak(device: torch.device) -> None:
    """Count the most memory anew. Where the kernel does not let us, it is the most since the process began."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak(device: torch.device) -> int:
    """The most bytes held: on the accelerator, or by this process in main memory."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))) * 1024
