"""What a job may tell DeepSpeed: the stage of ZeRO, what leaves the accelerator, and settings that Serin does not make."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from serin_operator.api.base import ApiModel, field_rules, rule, rules

# Settings of DeepSpeed that Serin makes from other fields, and those fields. The trainer has the same list.
MADE_FROM = {
    "train_batch_size": "hyperparameters.globalBatchSize",
    "train_micro_batch_size_per_gpu": "hyperparameters.batchSize",
    "gradient_accumulation_steps": "hyperparameters.gradientAccumulationSteps",
    "gradient_clipping": "hyperparameters.maxGradientNorm",
    "bf16.enabled": "hyperparameters.precision",
    "fp16.enabled": "hyperparameters.precision",
    "zero_optimization.stage": "distribution.deepspeed.zeroStage",
    "zero_optimization.offload_optimizer": "distribution.deepspeed.offload",
    "zero_optimization.offload_param": "distribution.deepspeed.offload",
    "zero_optimization.stage3_gather_16bit_weights_on_model_save": "consolidation, which reads the shards",
}
# What may be set beside them: nothing that names a file, loads code or changes what a checkpoint is.
FREE = (
    "zero_optimization[.][a-z][a-z0-9_]*|fp16[.](initial_scale_power|loss_scale_window|hysteresis|min_loss_scale)"
    "|communication_data_type|prescale_gradients|gradient_predivide_factor|sparse_gradients|wall_clock_breakdown"
)
_MADE = "[" + ", ".join(f"'{name}'" for name in MADE_FROM) + "]"
_FROM = "{" + ", ".join(f"'{name}': '{field}'" for name, field in MADE_FROM.items()) + "}"
_WORD = "(true|false|-?[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+)?|[a-z][a-z0-9_]*)"

ConfigOverride = Annotated[
    dict[str, Annotated[str, Field(max_length=64)]],
    Field(
        max_length=24,
        exclude_if=lambda given: not given,
        description='Further settings of DeepSpeed by their path, such as zero_optimization.overlap_comm: "true".',
        json_schema_extra=field_rules(
            [
                rule(
                    f"self.all(name, !(name in {_MADE}))",
                    "configOverride sets what Serin makes from other fields",
                    messageExpression=f"self.filter(name, name in {_MADE})[0] + ' is not for configOverride to set: Serin"
                    f" makes it from ' + {_FROM}[self.filter(name, name in {_MADE})[0]]",
                ),
                rule(
                    f"self.all(name, name in {_MADE} || name.matches('^({FREE})$'))",
                    "configOverride may set names of zero_optimization and a few others",
                    messageExpression=f"self.filter(name, !(name in {_MADE}) && !name.matches('^({FREE})$'))[0]"
                    " + ' is not among what configOverride may set: zero_optimization.<name>, fp16.initial_scale_power,"
                    " fp16.loss_scale_window, fp16.hysteresis, fp16.min_loss_scale, communication_data_type,"
                    " prescale_gradients, gradient_predivide_factor, sparse_gradients, wall_clock_breakdown'",
                ),
                rule(
                    f"self.all(name, self[name].matches('^{_WORD}$'))",
                    'each value must be a number, true, false or a lower-case word, in quotes, such as "true"',
                ),
            ]
        ),
    ),
]


class Offload(StrEnum):
    """What lies in the node's memory instead of the accelerator's (Ren et al., arXiv 2101.06840)."""

    OPTIMIZER = "Optimizer"
    OPTIMIZER_AND_PARAMETERS = "OptimizerAndParameters"


class DeepSpeed(ApiModel):
    """ZeRO stage (Rajbhandari et al., arXiv 1910.02054), offload, and further settings."""

    model_config = rules(
        rule(
            "!has(self.offload) || self.zeroStage >= (self.offload == 'Optimizer' ? 1 : 3)",
            "offload: Optimizer needs zeroStage of at least 1, and OptimizerAndParameters needs zeroStage 3",
        )
    )

    zero_stage: Annotated[int, Field(ge=0, le=3)] = 2
    offload: Offload | None = None
    config_override: ConfigOverride = Field(default_factory=dict)
