"""Kubernetes quantities, as far as a count of cores, a size and a comparison need them
(https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/)."""

from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any, Final

_SUFFIXES: Final = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    "k": Decimal("1e3"), "M": Decimal("1e6"), "G": Decimal("1e9"), "T": Decimal("1e12"), "P": Decimal("1e15"),
    "E": Decimal("1e18"), "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
    "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip
MOST_CORES: Final = 1024  # more than any machine has


def whole_cores(quantity: int | str) -> int:
    """Whole cores, at least 1 and at most `MOST_CORES`; 1 for what is no quantity, since the apiserver says so itself."""
    cores = _value(quantity)
    if cores is None:
        return 1
    return int(min(max(cores, Decimal(1)), Decimal(MOST_CORES)).to_integral_value(ROUND_FLOOR))


def whole_mebibytes(quantity: int | str) -> int:
    """Rounded down; 0 for what is no quantity."""
    size = _value(quantity)
    return 0 if size is None else int((size / 2**20).to_integral_value(ROUND_FLOOR))


def same_quantity(one: Any, other: Any) -> bool:
    """The apiserver writes quantities in its own way: 0.5 as 500m, 1024Mi as 1Gi."""
    if not isinstance(one, str | int) or not isinstance(other, str | int):
        return False
    value = _value(one)
    return value is not None and value == _value(other)


def _value(quantity: int | str) -> Decimal | None:
    text = str(quantity)
    digits = text.rstrip("numkKMGTPEi")
    try:
        value = Decimal(digits) * _SUFFIXES[text[len(digits) :]]
    except (InvalidOperation, KeyError):
        return None
    return value if value.is_finite() else None
