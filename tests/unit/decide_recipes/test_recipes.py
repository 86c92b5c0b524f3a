"""YAML of Axolotl and LLaMA-Factory becomes fields of the spec, and no key of it is lost on the way."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from serin_operator.api.v1alpha1 import FineTuneJobSpec, RecipeFormat
from serin_operator.decide.recipes import Translation, effective_spec, translate
from serin_operator.decide.recipes.applying import applied_fields
from serin_operator.decide.recipes.common import LINEAR_LAYERS
from serin_operator.decide.recipes.reading import LONGEST, TABLES

EXAMPLES = Path(__file__).parents[3] / "examples" / "recipes"
AXOLOTL, LLAMA = RecipeFormat.AXOLOTL, RecipeFormat.LLAMA_FACTORY
BASE = "pvc://models/base"
LORA = {"adapter": "lora"}


def read(keys: Any, written_for: RecipeFormat = AXOLOTL, base: str = BASE) -> Translation:
    text = keys if isinstance(keys, str) else yaml.safe_dump(keys, sort_keys=False)
    return translate(text, written_for, base)


def fields(keys: Any, written_for: RecipeFormat = AXOLOTL) -> dict[str, Any]:
    found = read(keys, written_for)
    assert not found.refused, found.refusal()
    return {one.field: one.value for one in found.applied}


def spec_of(**spec: Any) -> FineTuneJobSpec:
    least = {
        "baseModel": {"uri": BASE},
        "data": {"train": [{"name": "a", "uri": "pvc://d/a.jsonl"}]},
        "artifacts": {"uri": "pvc://artifacts"},
    }
    return FineTuneJobSpec.model_validate(least | spec)


# --- whole recipes ------------------------------------------------------------------------------------------------

AN_AXOLOTL_RECIPE = """
base_model: team/model
datasets:
  - {path: team/rows, type: chat_template}
val_set_size: 0.05
output_dir: ./out
adapter: lora
lora_r: 32
lora_alpha: 16
lora_dropout: 0.05
lora_target_linear: true
sequence_len: 4096
sample_packing: true
eval_sample_packing: false
pad_to_sequence_len: true
wandb_project:
gradient_accumulation_steps: 4
micro_batch_size: 2
num_epochs: 3
optimizer: adamw_torch_fused
lr_scheduler: cosine
learning_rate: 2e-4
train_on_inputs: false
bf16: auto
tf32: false
gradient_checkpointing: true
flash_attention: true
warmup_ratio: 0.1
evals_per_epoch: 4
saves_per_epoch: 1
weight_decay: 0.0
deepspeed: deepspeed_configs/zero3_bf16.json
"""


def test_a_whole_axolotl_recipe_becomes_a_spec() -> None:
    found = read(AN_AXOLOTL_RECIPE)
    assert (found.refused, found.unknown) == ((), ())
    made = effective_spec(spec_of(), found).spec
    assert made is not None
    assert (made.method.type, made.method.lora and made.method.lora.rank) == ("LoRA", 32)
    assert made.method.lora is not None
    assert made.method.lora.target_modules == LINEAR_LAYERS
    assert (made.hyperparameters.learning_rate, made.hyperparameters.epochs) == ("0.0002", 3)
    assert (made.hyperparameters.batch_size, made.hyperparameters.gradient_accumulation_steps) == (2, 4)
    assert (made.hyperparameters.max_sequence_length, made.hyperparameters.warmup_ratio) == (4096, "0.1")
    assert (made.data.packing, made.data.loss_on) == ("Isolated", "Completions")
    assert (made.data.split.train_percent, made.data.split.validation_percent) == (85, 5)
    assert made.distribution.deepspeed.zero_stage == 3


A_LLAMA_FACTORY_RECIPE = """
### model
model_name_or_path: team/model
trust_remote_code: false
### method
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all
deepspeed: examples/deepspeed/ds_z2_config.json
### dataset
dataset: identity,alpaca_en_demo
template: llama3
cutoff_len: 2048
overwrite_cache: true
preprocessing_num_workers: 16
### output
output_dir: saves/llama3-8b/lora/sft
logging_steps: 10
save_steps: 500
plot_loss: true
overwrite_output_dir: true
save_only_model: false
report_to: none
### train
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
ddp_timeout: 180000000
resume_from_checkpoint: null
"""


def test_a_whole_llama_factory_recipe_becomes_a_spec() -> None:
    found = read(A_LLAMA_FACTORY_RECIPE, LLAMA)
    assert (found.refused, found.unknown) == ((), ())
    made = effective_spec(spec_of(), found).spec
    assert made is not None
    assert made.method.lora is not None
    assert (made.method.type, made.method.lora.rank, made.method.lora.target_modules) == ("LoRA", 8, LINEAR_LAYERS)
    assert (made.hyperparameters.learning_rate, made.hyperparameters.epochs) == ("0.0001", 3)
    assert (made.hyperparameters.save_steps, made.hyperparameters.max_sequence_length) == (500, 2048)
    assert made.distribution.deepspeed.zero_stage == 2


@pytest.mark.parametrize("recipe", [(AN_AXOLOTL_RECIPE, AXOLOTL), (A_LLAMA_FACTORY_RECIPE, LLAMA)])
def test_every_key_ends_in_exactly_one_place(recipe: tuple[str, RecipeFormat]) -> None:
    found = read(*recipe)
    places = [{one.key for one in found.applied}, {note.key for note in found.left}, set(found.unknown)]
    keys = set(yaml.safe_load(recipe[0]))
    assert set().union(*places) == keys
    assert sum(map(len, places)) == len(keys)


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_every_example_is_understood_whole(file: Path) -> None:
    recipe, job = yaml.safe_load_all(file.read_text())
    spec = FineTuneJobSpec.model_validate(job["spec"])
    assert spec.config_from is not None
    assert spec.config_from.config_map_ref.name == recipe["metadata"]["name"]
    found = read(recipe["data"][spec.config_from.key], spec.config_from.format)
    assert (found.refused, found.unknown) == ((), ())
    made = effective_spec(spec, found).spec
    assert made is not None
    assert made.method.lora is not None


def test_what_is_kept_in_status_gives_the_same_spec() -> None:
    made = effective_spec(spec_of(), read(AN_AXOLOTL_RECIPE))
    assert applied_fields(spec_of(), made.fields).spec == made.spec


# --- key by key ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written_for", "keys", "field", "value"),
    [
        (AXOLOTL, {"learning_rate": "2e-5"}, "hyperparameters.learningRate", "0.00002"),
        (AXOLOTL, {"learning_rate": 0.0002}, "hyperparameters.learningRate", "0.0002"),
        (AXOLOTL, {"num_epochs": 4}, "hyperparameters.epochs", 4),
        (AXOLOTL, {"num_epochs": 3.0}, "hyperparameters.epochs", 3),
        (AXOLOTL, {"max_steps": 200}, "hyperparameters.maxSteps", 200),
        (AXOLOTL, {"micro_batch_size": 2}, "hyperparameters.batchSize", 2),
        (AXOLOTL, {"gradient_accumulation_steps": 8}, "hyperparameters.gradientAccumulationSteps", 8),
        (AXOLOTL, {"lr_scheduler": "linear"}, "hyperparameters.scheduler", "Linear"),
        (AXOLOTL, {"lr_scheduler": "constant_with_warmup"}, "hyperparameters.scheduler", "Constant"),
        (AXOLOTL, {"warmup_steps": 100}, "hyperparameters.warmupSteps", 100),
        (AXOLOTL, {"warmup_ratio": 0}, "hyperparameters.warmupRatio", "0"),
        (AXOLOTL, {"weight_decay": 0.01}, "hyperparameters.weightDecay", "0.01"),
        (AXOLOTL, {"max_grad_norm": 1}, "hyperparameters.maxGradientNorm", "1"),
        (AXOLOTL, {"sequence_len": 8192}, "hyperparameters.maxSequenceLength", 8192),
        (AXOLOTL, {"seed": 42}, "hyperparameters.seed", 42),
        (AXOLOTL, {"save_steps": 50}, "hyperparameters.saveSteps", 50),
        (AXOLOTL, {"save_total_limit": 3}, "checkpoints.keepRecent", 3),
        (AXOLOTL, {"early_stopping_patience": 3}, "earlyStopping.patience", 3),
        (AXOLOTL, {"sample_packing": False}, "data.packing", "None"),
        (AXOLOTL, {"train_on_inputs": True}, "data.lossOn", "AllTokens"),
        (AXOLOTL, {"val_set_size": 0.2}, "data.split.validationPercent", 20),
        (AXOLOTL, {"val_set_size": 0}, "data.split.validationPercent", 0),
        (AXOLOTL, LORA, "method.type", "LoRA"),
        (AXOLOTL, {**LORA, "lora_r": 64}, "method.lora.rank", 64),
        (AXOLOTL, {**LORA, "lora_alpha": 128}, "method.lora.alpha", 128),
        (AXOLOTL, {**LORA, "lora_dropout": 0}, "method.lora.dropout", "0"),
        (AXOLOTL, {**LORA, "lora_target_modules": ["q_proj"]}, "method.lora.targetModules", ["q_proj"]),
        (AXOLOTL, {**LORA, "lora_target_modules": "all-linear"}, "method.lora.targetModules", LINEAR_LAYERS),
        (AXOLOTL, {"deepspeed": "zero1.json"}, "distribution.deepspeed.zeroStage", 1),
        (AXOLOTL, {"deepspeed": "a/zero2_torch_compile.json"}, "distribution.deepspeed.zeroStage", 2),
        (LLAMA, {"deepspeed": "examples/deepspeed/ds_z0_config.json"}, "distribution.deepspeed.zeroStage", 0),
        (
            AXOLOTL,
            {"deepspeed": "zero3_bf16_cpuoffload_all.json"},
            "distribution.deepspeed.offload",
            "OptimizerAndParameters",
        ),
        (LLAMA, {"deepspeed": "ds_z3_offload_config.json"}, "distribution.deepspeed.zeroStage", 3),
        (LLAMA, {"deepspeed": "ds_z2_offload_config.json"}, "distribution.deepspeed.offload", "Optimizer"),
        (AXOLOTL, {"fp16": True}, "hyperparameters.precision", "FP16"),
        (AXOLOTL, {"gradient_checkpointing": True}, "hyperparameters.gradientCheckpointing", True),
        (LLAMA, {"disable_gradient_checkpointing": False}, "hyperparameters.gradientCheckpointing", True),
        (LLAMA, {"disable_gradient_checkpointing": True}, "hyperparameters.gradientCheckpointing", False),
        (LLAMA, {"finetuning_type": "full"}, "method.type", "Full"),
        (LLAMA, {"lora_rank": 4}, "method.type", "LoRA"),
        (AXOLOTL, {"adapter": "QLoRA", "load_in_4bit": True}, "method.type", "QLoRA"),
        (LLAMA, {"quantization_bit": 4}, "method.type", "QLoRA"),
        (LLAMA, {"quantization_bit": 4, "lora_rank": 4}, "method.type", "QLoRA"),
        (LLAMA, {"finetuning_type": "lora", "quantization_bit": 4, "quantization_type": "nf4"}, "method.type", "QLoRA"),
        (LLAMA, {"lora_target": "q_proj,v_proj"}, "method.lora.targetModules", ["q_proj", "v_proj"]),
        (LLAMA, {"stage": "pt"}, "data.lossOn", "AllTokens"),
        (LLAMA, {"mask_history": True}, "data.lossOn", "LastCompletion"),
        (LLAMA, {"train_on_prompt": True}, "data.lossOn", "AllTokens"),
        (LLAMA, {"packing": True}, "data.packing", "Isolated"),
        (LLAMA, {"val_size": 0.1}, "data.split.validationPercent", 10),
        (LLAMA, {"per_device_train_batch_size": 4}, "hyperparameters.batchSize", 4),
        (LLAMA, {"num_train_epochs": "3.0"}, "hyperparameters.epochs", 3),
        (LLAMA, {"lr_scheduler_type": "cosine"}, "hyperparameters.scheduler", "Cosine"),
    ],
)
def test_a_key_sets_its_field(written_for: RecipeFormat, keys: dict[str, Any], field: str, value: Any) -> None:
    assert fields(keys, written_for)[field] == value


@pytest.mark.parametrize(
    ("written_for", "keys", "fix"),
    [
        (AXOLOTL, {"adapter": "llama-adapter"}, "set adapter: lora or qlora"),
        (AXOLOTL, {"load_in_4bit": True}, "set it to false"),
        (AXOLOTL, {**LORA, "load_in_4bit": True}, "go with adapter: qlora"),
        (AXOLOTL, {"load_in_8bit": True}, "set it to false"),
        (AXOLOTL, {"rl": "dpo"}, "only supervised fine-tuning"),
        (AXOLOTL, {"optimizer": "paged_adamw_8bit"}, "set adamw_torch"),
        (AXOLOTL, {"lr_scheduler": "one_cycle"}, "set cosine, linear or constant_with_warmup"),
        (AXOLOTL, {"num_epochs": 1.5}, "not a whole number from 1 to 1000"),
        (AXOLOTL, {"num_epochs": True}, "is not a number"),
        (AXOLOTL, {"learning_rate": "fast"}, "is not a number"),
        (AXOLOTL, {"learning_rate": ".nan"}, "is not a number"),
        (AXOLOTL, {"learning_rate": 0}, "is not a number above 0"),
        (AXOLOTL, {"learning_rate": 2}, "at most 1"),
        (AXOLOTL, {"weight_decay": -1}, "at least 0"),
        (AXOLOTL, {"val_set_size": 0.005}, "set data.split.validationPercent"),
        (AXOLOTL, {"val_set_size": 500}, "set data.split.validationPercent"),
        (AXOLOTL, {"deepspeed": "zero3_bf16_cpuoffload_params.json"}, "set distribution.deepspeed.offload"),
        (LLAMA, {"deepspeed": "ds_z0_offload_config.json"}, "set distribution.deepspeed.offload"),
        (AXOLOTL, {"gradient_checkpointing": "offload"}, "computed again or kept, not moved"),
        (AXOLOTL, {"deepspeed": {"zero_optimization": {"stage": 2}}}, "set distribution.deepspeed.zeroStage"),
        (AXOLOTL, {"deepspeed": "ours.json"}, "set distribution.deepspeed.zeroStage"),
        (AXOLOTL, {"fsdp": ["full_shard"]}, "zeroStage to 3"),
        (AXOLOTL, {"fp16": "maybe"}, "neither true nor false"),
        (AXOLOTL, {"trust_remote_code": True}, "no code of a model runs"),
        (AXOLOTL, {"chat_template": "chatml"}, "set tokenizer_default"),
        (AXOLOTL, {"special_tokens": {"pad_token": "<pad>"}}, "put them into its tokenizer"),
        (AXOLOTL, {"lora_r": 8}, "it goes with adapter: lora"),
        (AXOLOTL, {**LORA, "lora_r": 0}, "not a whole number from 1 to 512"),
        (AXOLOTL, {**LORA, "lora_modules_to_save": ["embed_tokens"]}, "an adapter trains its own weights only"),
        (AXOLOTL, {"sample_packing": "maybe"}, "neither true nor false"),
        (AXOLOTL, {"batch_size": 64}, "micro_batch_size x gradient_accumulation_steps"),
        (LLAMA, {"stage": "dpo"}, "stage: sft"),
        (LLAMA, {"finetuning_type": "freeze"}, "set lora or full"),
        (LLAMA, {"finetuning_type": "full", "lora_rank": 8}, "it goes with finetuning_type: lora"),
        (LLAMA, {"quantization_bit": 8}, "4 bits only"),
        (LLAMA, {"finetuning_type": "full", "quantization_bit": 4}, "set finetuning_type: lora"),
        (LLAMA, {"quantization_type": "fp4"}, "set nf4"),
        (LLAMA, {"double_quantization": False}, "set true"),
        (LLAMA, {"quantization_method": "hqq"}, "set bnb"),
        (LLAMA, {"max_samples": 1000}, "all rows are read"),
        (LLAMA, {"hf_hub_token": "hf_x"}, "secretRef"),
        (LLAMA, {"neftune_noise_alpha": 5}, "no noise is added"),
        (LLAMA, {"pure_bf16": True}, "fp32"),
    ],
)
def test_what_is_not_done_is_refused_with_the_fix(written_for: RecipeFormat, keys: dict[str, Any], fix: str) -> None:
    found = read(keys, written_for)
    assert [note.key for note in found.refused] == [list(keys)[-1]]
    assert fix in found.refusal()


def test_a_secret_in_a_recipe_is_not_repeated() -> None:
    assert "hf_very_secret" not in read({"hf_hub_token": "hf_very_secret"}, LLAMA).refusal()


@pytest.mark.parametrize("written_for", RecipeFormat)
@pytest.mark.parametrize("off", [None, "", "none"])
def test_an_empty_key_asks_for_nothing(written_for: RecipeFormat, off: Any) -> None:
    found = read(dict.fromkeys(TABLES[written_for], off), written_for)
    assert (found.applied, found.refused, found.unknown) == ((), (), ())


@pytest.mark.parametrize("key", ["load_in_4bit", "fp16", "trust_remote_code", "peft_use_dora"])
def test_what_is_switched_off_is_not_refused(key: str) -> None:
    found = read({key: False})
    assert ([note.key for note in found.left], found.refused) == ([key], ())


def test_a_tracking_server_is_for_the_spec_to_name() -> None:
    found = read({"use_mlflow": True, "mlflow_tracking_uri": "http://mlflow:5000", "mlflow_experiment_name": "bot"})
    assert (found.refused, found.unknown, found.applied) == ((), (), ())
    assert {note.why for note in found.left} == {"spec.tracking.mlflow names the server that is told of the training"}


def test_unknown_keys_are_named_and_nothing_is_guessed() -> None:
    found = read({"learnig_rate": 1e-4, "num_epochs": 2, "my_own": {"a": 1}})
    assert found.unknown == ("learnig_rate", "my_own")
    assert [one.field for one in found.applied] == ["hyperparameters.epochs"]


def test_steps_go_before_epochs_as_they_do_over_there() -> None:
    for keys in ({"num_epochs": 2, "max_steps": 50}, {"max_steps": 50, "num_epochs": 2}):
        assert fields(keys) == {"hyperparameters.maxSteps": 50, "hyperparameters.epochs": 1000}
    assert fields({"num_epochs": 2, "max_steps": -1}) == {"hyperparameters.epochs": 2}


def test_two_keys_that_say_two_things_of_one_field_are_refused() -> None:
    found = read({"stage": "pt", "mask_history": True}, LLAMA)
    assert "stage says AllTokens" in found.refusal()


@pytest.mark.parametrize(
    ("base", "name", "refused"),
    [
        ("hf://team/model@main", "team/model", False),
        ("hf://team/model", "team/other", True),
        ("pvc://models/base", "team/other", False),
        ("s3://models/base", "team/other", False),
    ],
)
def test_the_base_model_is_the_specs_to_name(base: str, name: str, refused: bool) -> None:
    for written_for, key in ((AXOLOTL, "base_model"), (LLAMA, "model_name_or_path")):
        assert bool(read({key: name}, written_for, base).refused) is refused


# --- the text -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "it is not YAML"),
        ("- a\n- b", "not a mapping"),
        ("", "not a mapping"),
        ("just words", "not a mapping"),
        ("a: !!python/object/apply:os.system ['true']", "it is not YAML"),
        ("num_epochs: 1\nnum_epochs: 2", "it stands there twice"),
        ("a: {b: 1, b: 2}", "it stands there twice"),
        ("[" * 3000, "it is not YAML"),
        ("a: " + "x" * LONGEST, "more than 32 KiB"),
        ("? [a, b]\n: 1\n? {c: d}\n: 2", "it is not YAML"),
    ],
)
def test_a_text_that_is_no_recipe_is_refused(text: str, why: str) -> None:
    assert why in translate(text, AXOLOTL, BASE).refusal()


def test_aliases_that_multiply_cost_nothing() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    assert len(read(bomb).unknown) == 60


@pytest.mark.parametrize("written_for", RecipeFormat)
@pytest.mark.parametrize(
    "value", ["*a59", "&b{n} [*b{n}]", "{{a: {{b: c}}}}", "[[1]]", "1e999999999", "1e-999999999", "2020-01-01", ".inf"]
)
def test_no_value_of_any_key_is_too_much(written_for: RecipeFormat, value: str) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    keys = "".join(f"{key}: {value.format(n=n)}\n" for n, key in enumerate(TABLES[written_for]))
    found = translate(bomb + keys, written_for, BASE)
    assert len(found.unknown) == 60
    assert not [note for note in (*found.left, *found.refused) if len(note.why) > 300]
    assert not [one for one in found.applied if len(str(one.value)) > 300]


def test_a_number_of_thousands_of_digits_is_refused_in_few_words() -> None:
    assert "so large a number is not a number" in read(f"seed: 0x{'f' * 9000}").refusal()


def test_keys_that_are_no_words_are_unknown() -> None:
    assert read("2: a\ntrue: b\n").unknown == ("2", "True")


# --- into the spec ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "keys", "refused"),
    [
        ({"hyperparameters": {"epochs": 5}}, {"num_epochs": 3}, "spec.hyperparameters.epochs says 5"),
        ({"hyperparameters": {"learningRate": "1e-3"}}, {"learning_rate": 1e-4}, "spec.hyperparameters.learningRate"),
        ({"method": {"type": "LoRA", "lora": {"rank": 4}}}, {**LORA, "lora_r": 8}, "spec.method.lora.rank says 4"),
        ({"earlyStopping": {"patience": 2}}, {"early_stopping_patience": 3}, "spec.earlyStopping.patience says 2"),
        ({"earlyStopping": {"patience": 3}}, {"val_set_size": 0}, "it needs validation rows"),
        ({}, {"early_stopping_patience": 3, "val_set_size": 0}, "it needs validation rows"),
        ({}, {"warmup_steps": 5, "warmup_ratio": 0.1}, "take one out"),
        ({"hyperparameters": {"warmupSteps": 5}}, {"warmup_ratio": 0.1}, "take one out"),
        ({"hyperparameters": {"globalBatchSize": 64}}, {"gradient_accumulation_steps": 2}, "it follows from"),
        ({"hyperparameters": {"globalBatchSize": 9}}, {"micro_batch_size": 2}, "no multiple"),
        ({}, {"val_set_size": 0.95}, "leave nothing to train on"),
        ({"data": {"rowEnding": "Newline"}}, {"sample_packing": True}, "running text"),
        ({}, {**LORA, "lora_target_modules": []}, "spec.method.lora.targetModules"),
    ],
)
def test_what_cannot_stand_together_is_refused(spec: dict[str, Any], keys: dict[str, Any], refused: str) -> None:
    train = {"train": [{"name": "a", "uri": "pvc://d/a.jsonl"}]}
    given = {**spec, "data": {**train, **spec.get("data", {})}}
    made = effective_spec(spec_of(**given), read(keys))
    assert made.spec is None
    said = " ".join(f"{note.key}: {note.why}" for note in made.refused)
    assert refused in said


@pytest.mark.parametrize(
    ("spec", "keys"),
    [
        ({"hyperparameters": {"learningRate": "1e-4"}}, {"learning_rate": 0.0001}),
        ({"method": {"type": "LoRA"}}, LORA),
        ({"hyperparameters": {"epochs": 3}}, {"num_epochs": 3}),
    ],
)
def test_what_both_say_alike_stands(spec: dict[str, Any], keys: dict[str, Any]) -> None:
    assert effective_spec(spec_of(**spec), read(keys)).spec is not None


def test_a_recipe_that_sets_nothing_leaves_the_spec_as_it_is() -> None:
    assert effective_spec(spec_of(), read({"output_dir": "x"})).spec == spec_of()


def test_half_precision_of_a_recipe_needs_an_accelerator_as_that_of_a_spec_does() -> None:
    found = read({"fp16": True})
    assert [note.key for note in effective_spec(spec_of(), found).refused] == ["fp16"]
    made = effective_spec(spec_of(distribution={"resources": {"limits": {"nvidia.com/gpu": 1}}}), found).spec
    assert made is not None
    assert made.hyperparameters.precision == "FP16"


def test_a_recipe_goes_with_a_method_that_is_chosen_unless_it_names_another() -> None:
    auto = spec_of(method={"type": "Auto", "auto": {"deviceMemory": "80Gi"}, "lora": {"rank": 4}})
    made = effective_spec(auto, read({"learning_rate": 1e-4, "gradient_checkpointing": True})).spec
    assert made is not None
    assert (made.method, made.hyperparameters.gradient_checkpointing) == (auto.method, True)
    assert [note.key for note in effective_spec(auto, read(LORA)).refused] == ["adapter"]
