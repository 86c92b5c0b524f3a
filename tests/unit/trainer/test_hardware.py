"""The precision is the asked for one where the machine can; otherwise the refusal says why."""

from typing import Any

import pytest
from serin_trainer.errors import ConfigError
from serin_trainer.hardware import precision


@pytest.mark.parametrize(
    ("wanted", "accelerated", "bf16", "found"),
    [
        pytest.param(None, False, False, "fp32", id="a CPU, unasked"),
        pytest.param(None, True, True, "bf16", id="an accelerator, unasked"),
        pytest.param(None, True, False, "fp32", id="an old accelerator, unasked"),
        pytest.param("BF16", False, False, "bf16", id="a CPU emulates bf16 when asked to"),
        pytest.param("FP16", True, False, "fp16", id="an old accelerator, asked"),
        pytest.param("FP32", True, True, "fp32", id="an accelerator, asked for more"),
    ],
)
def test_what_is_computed_in(wanted: Any, accelerated: bool, bf16: bool, found: str) -> None:
    assert precision(wanted, accelerated, bf16) == found


@pytest.mark.parametrize(
    ("wanted", "accelerated", "why", "advice"),
    [
        ("FP16", False, "this is a CPU: the range of fp16 is too small", "BF16 or FP32"),
        ("BF16", True, "this accelerator does not compute in", "FP16 or FP32"),
    ],
)
def test_what_the_machine_cannot_do_is_refused_with_the_reason(
    wanted: Any, accelerated: bool, why: str, advice: str
) -> None:
    with pytest.raises(ConfigError, match=why) as refusal:
        precision(wanted, accelerated, bf16=False)
    assert advice in refusal.value.advice
