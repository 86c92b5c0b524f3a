"""The learning rate where nobody gave one: by what is trained and how large the base model is.

A beginning, not an optimum. Larger models want smaller steps (Brown et al., arXiv 2005.14165, table 2.1, where the rate
falls from 6e-4 at 125 M parameters to 6e-5 at 175 B); fine-tuning whole models goes at a tenth of that and less (Touvron
et al., arXiv 2307.09288: 2e-5), adapters at about ten times as much (Hu et al., arXiv 2106.09685; Dettmers et al., arXiv
2305.14314: 2e-4 up to 13 B, 1e-4 above).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MILLION, BILLION = 10**6, 10**9

# Up to so many parameters: the rate of full fine-tuning. The first row that is large enough counts.
SIZES: Final = ((100 * MILLION, "1e-4"), (BILLION, "5e-5"), (20 * BILLION, "2e-5"))
LARGEST: Final = "1e-5"
ADAPTERS_FASTER: Final = 10
IA3_RATE: Final = "3e-3"  # Liu et al., arXiv 2205.05638, for models of 3 B and 11 B alike

# Lester et al., arXiv 2104.08691, take 0.3 with Adafactor for models of any size; Adam's steps are as large as its rate.
PROMPT_RATE: Final = "3e-2"


@dataclass(frozen=True)
class Guideline:
    """A rate, and why it is this one."""

    rate: str
    reason: str


def learning_rate(method: str, parameters: int) -> Guideline:
    """The guideline for a base model of so many parameters."""
    if method == "IA3":
        return Guideline(IA3_RATE, f"no learningRate is given; it is {IA3_RATE}, the guideline for IA3 of any size")
    if method == "PromptTuning":
        return Guideline(
            PROMPT_RATE, f"no learningRate is given; it is {PROMPT_RATE}, the guideline for prompt tuning of any size"
        )
    for most, rate in SIZES:
        if parameters <= most:
            return _said(method, rate, parameters, f"up to {_size(most)}")
    return _said(method, LARGEST, parameters, f"above {_size(SIZES[-1][0])}")


def _said(method: str, rate: str, parameters: int, range_: str) -> Guideline:
    what = "full fine-tuning"
    if method != "Full":
        rate, what = (
            f"{float(rate) * ADAPTERS_FASTER:.0e}".replace("e-0", "e-"),
            f"{method}, ten times that of whole models",
        )
    return Guideline(
        rate,
        f"no learningRate is given; it is {rate}, the guideline for {what}, of {range_} parameters ({_size(parameters)})",
    )


def _size(parameters: int) -> str:
    if parameters >= BILLION:
        return f"{parameters / BILLION:.3g} B"
    return f"{parameters / MILLION:.3g} M"
