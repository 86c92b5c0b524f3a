"""Adapters merged into the base model, one weight at a time: W + scale * B A of LoRA, and the scaled rows or columns of IA3.

Which module has adapters, how they are scaled and whether a weight lies transposed is asked of peft, on a model without
numbers; so the rules are those of training. A merged weight is made when it is written, and all others are copied from
the base's files as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .config import Method
from .errors import DataError
from .model import with_method
from .tensors import Array, Computed, Stored, Tensor, itemsize, numpy_type, whole
from .zero import Trained, damaged

PREFIX = "base_model.model."


def merged(base: Path, weights: Mapping[str, Stored], trained: Trained, method: Method) -> dict[str, Tensor]:
    """The base's weights, those that have adapters replaced by what they become."""
    model = skeleton(base, method)
    adapters = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    absent = [name for name in adapters if trained.find(name) is None]
    if absent:
        raise damaged(f"it lacks {len(absent)} adapters, such as {absent[0]}")
    found: dict[str, Tensor] = dict(weights)
    for name, layer in _layers(model):
        merge = _scaled if method.type == "IA3" else _added
        weight = weights.get(f"{name}.weight")
        if weight is None:
            raise DataError(
                "ModelInvalid",
                f"the base model's files have no {name}.weight for its adapters to be merged into",
                "leave tied modules out of the method's targetModules",
            )
        found[f"{name}.weight"] = Computed(weight.dtype, weight.shape, _Merge(layer, name, weight, trained, merge))
        bias = weights.get(f"{name}.bias")
        if bias is not None and method.type == "IA3" and not layer.is_feedforward:
            found[f"{name}.bias"] = Computed(bias.dtype, bias.shape, _Merge(layer, name, bias, trained, merge))
    return found


class _Merge:
    """Makes one merged weight. Until then it holds names, not numbers."""

    def __init__(
        self, layer: Any, name: str, weight: Stored, trained: Trained, merge: Callable[[Any, Any], Any]
    ) -> None:
        self._merge = merge
        self._layer = layer
        self._name = name
        self._weight = weight
        self._trained = trained

    def __call__(self) -> Array:
        import torch

        names = [name for name, parameter in self._layer.named_parameters() if parameter.requires_grad]
        try:
            for name in names:
                self._set(name, _tensor(self._adapter(name)).to(torch.float32))
            with torch.no_grad():
                base = _tensor(self._weight)
                result = self._merge(self._layer, base.to(torch.float32))
                return _numbers(result.to(base.dtype), self._weight.dtype)
        finally:
            # Numbers are let go at once: of all adapters, those of one module are ever in memory.
            for name in names:
                self._set(name, self._layer.get_parameter(name).to("meta"))

    def _adapter(self, name: str) -> Stored:
        stored = self._trained.find(f"{PREFIX}{self._name}.{name}")
        wanted = tuple(self._layer.get_parameter(name).shape)
        if stored is None or stored.shape != wanted:
            found = "absent" if stored is None else f"of the shape {list(stored.shape)}"
            raise damaged(f"the adapter {self._name}.{name} is {found} and should have {list(wanted)}")
        return stored

    def _set(self, name: str, tensor: Any) -> None:
        import torch

        path, _, last = name.rpartition(".")
        self._layer.get_submodule(path)._parameters[last] = torch.nn.Parameter(tensor)


def _added(layer: Any, weight: Any) -> Any:
    return weight.add_(layer.get_delta_weight("default"))


def _scaled(layer: Any, weight: Any) -> Any:
    """Scales lie along what the module gives, or takes if it is a feed-forward one."""
    scale = layer.ia3_l["default"]
    if weight.dim() == 1:
        return weight.mul_(scale.reshape(weight.shape))
    return weight.mul_(scale.T if layer.fan_in_fan_out else scale)


def skeleton(base: Path, method: Method) -> Any:
    """The model as it was trained, without numbers."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        return with_method(AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base)), method)


def _layers(model: Any) -> list[tuple[str, Any]]:
    """Each module with adapters, under the name that it has in the base model's files."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [
        (name.removeprefix(PREFIX), module)
        for name, module in model.named_modules()
        if isinstance(module, BaseTunerLayer)
    ]


def _tensor(stored: Stored) -> Any:
    import torch

    numbers = np.ascontiguousarray(whole(stored))
    if stored.dtype == "BF16":
        return torch.from_numpy(numbers.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(numbers)


def _numbers(tensor: Any, dtype: str) -> Array:
    import torch

    if dtype == "BF16":
        return tensor.view(torch.int16).numpy().view(np.uint16)
    numbers = tensor.numpy()
    assert numbers.dtype.itemsize == itemsize(dtype)
    return numbers.astype(numpy_type(dtype), copy=False)
