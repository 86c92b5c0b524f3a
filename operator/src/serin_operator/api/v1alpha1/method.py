"""Which parameters a job trains, and what becomes of adapters."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from serin_operator.api.base import ApiModel, ModuleName, rule, rules
from serin_operator.api.v1alpha1.placement import Memory
from serin_operator.api.v1alpha1.shared import Dropout


class MethodType(StrEnum):
    FULL = "Full"
    LORA = "LoRA"
    QLORA = "QLoRA"
    IA3 = "IA3"
    PROMPT_TUNING = "PromptTuning"
    AUTO = "Auto"


class Lora(ApiModel):
    """Low-rank adaptation (Hu et al., arXiv 2106.09685)."""

    rank: Annotated[int, Field(ge=1, le=512)] = 16
    alpha: Annotated[int, Field(ge=1, le=1024)] = 32
    target_modules: Annotated[
        list[ModuleName],
        Field(min_length=1, max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = ["q_proj", "v_proj"]
    dropout: Dropout = "0.0"


class Ia3(ApiModel):
    """Learned scales on what modules give, or take if they are feed-forward ones (Liu et al., arXiv 2205.05638)."""

    model_config = rules(
        rule(
            "self.feedforwardModules.all(name, name in self.targetModules)",
            "feedforwardModules must be among targetModules",
        )
    )

    target_modules: Annotated[
        list[ModuleName],
        Field(min_length=1, max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = ["k_proj", "v_proj", "down_proj"]
    feedforward_modules: Annotated[
        list[ModuleName],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = ["down_proj"]


class PromptTuning(ApiModel):
    """Learned embeddings that stand before each prompt (Lester et al., arXiv 2104.08691). They begin as those of tokens
    drawn from the vocabulary."""

    virtual_tokens: Annotated[int, Field(ge=1, le=1024)] = 20


class Auto(ApiModel):
    """What Prepare goes by when it chooses: full fine-tuning where it fits so much memory, else LoRA, else QLoRA."""

    device_memory: Annotated[Memory, Field(description="Of one accelerator, such as 80Gi.")]


class Adapter(StrEnum):
    """What becomes of an adapter: part of the model's weights, or a small model of its own beside the base model."""

    MERGED = "Merged"
    KEPT = "Kept"


class Method(ApiModel):
    """Which parameters are trained. Without `adapter` one is merged into the base model's weights. QLoRA is LoRA beside
    weights of 4 bits (Dettmers et al., arXiv 2305.14314). With Auto, Prepare chooses Full, LoRA or QLoRA by the memory that
    each takes, and says why."""

    model_config = rules(
        rule(
            "self.type in ['LoRA', 'QLoRA', 'Auto'] || !has(self.lora)",
            "lora may be given only when type is LoRA, QLoRA or Auto",
        ),
        rule("self.type == 'IA3' || !has(self.ia3)", "ia3 may be given only when type is IA3"),
        rule(
            "self.type == 'PromptTuning' || !has(self.promptTuning)",
            "promptTuning may be given only when type is PromptTuning",
        ),
        rule(
            "self.type != 'PromptTuning' || !has(self.adapter) || self.adapter == 'Kept'",
            "adapter of type PromptTuning is always Kept: no weight of the base model is changed by a prompt",
        ),
        rule("self.type == 'Auto' || !has(self.auto)", "auto may be given only when type is Auto"),
        rule(
            "!has(self.adapter) || !(self.type in ['Full', 'Auto'])",
            "adapter may be given only when type is LoRA, QLoRA, IA3 or PromptTuning: full fine-tuning, which Auto may choose, has none",
        ),
    )

    type: MethodType = MethodType.FULL
    lora: Lora | None = None
    ia3: Ia3 | None = None
    prompt_tuning: PromptTuning | None = None
    auto: Auto | None = None
    adapter: Adapter | None = None

    @property
    def kept(self) -> bool:
        """The adapter stays one: what is served is the base model with it."""
        return self.adapter is Adapter.KEPT or self.prompts

    @property
    def prompts(self) -> bool:
        """What is learned stands before each row, so that rows cannot be packed."""
        return self.type is MethodType.PROMPT_TUNING

    def chosen(self, type_: MethodType) -> "Method":
        """What Auto came to: the method that somebody would have written who knew."""
        lora = self.lora if type_ is not MethodType.FULL else None
        return self.model_copy(update={"type": type_, "lora": lora, "auto": None})

    @property
    def trained(self) -> "Method":
        """What training depends on: the same weights are learned whatever becomes of them."""
        return self.model_copy(update={"adapter": None})
