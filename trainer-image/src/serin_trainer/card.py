"""The model card: what a person should know who finds the model's folder without its job.

It is covered by the model's digest, so it says only what follows from the inputs: the same training makes the same card.
What varies from run to run stands in the manifest's lineage.
"""

from __future__ import annotations

from .config import ConsolidateConfig, Method

FILE_NAME = "README.md"


def text(config: ConsolidateConfig) -> str:
    """Markdown with the hub's front matter (https://huggingface.co/docs/hub/model-cards)."""
    return "\n".join([*_front_matter(config), "", *_body(config), ""])


def _front_matter(config: ConsolidateConfig) -> list[str]:
    lines = ["---", "library_name: transformers", "pipeline_tag: text-generation"]
    hub = config.base_model.uri.removeprefix("hf://")
    if hub != config.base_model.uri:
        lines += [f"base_model: {hub.partition('@')[0]}", "base_model_relation: finetune"]
    return [*lines, f"tags: [serin, {config.method.type.lower()}]", "---"]


def _body(config: ConsolidateConfig) -> list[str]:
    lineage = config.lineage
    rows = [
        ("Base model", f"`{config.base_model.uri}`"),
        ("Base model digest", f"`{config.base_model.digest}`"),
        ("Data digest", f"`{lineage.data_digest}`"),
        ("Method", _method(config.method)),
        *((name, str(value)) for name, value in sorted(lineage.hyperparameters.items())),
        ("Training key", f"`{lineage.train_key}`"),
    ]
    return [
        "# A fine-tuned causal language model",
        "",
        f"Trained and consolidated by Serin from `{config.base_model.uri}`.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
        "",
        "## Use",
        "",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'folder = "."  # where this file lies',
        "model = AutoModelForCausalLM.from_pretrained(folder)",
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        "```",
        "",
        "Weights are safetensors only; no code comes with them. `manifest.json` lists every file with its SHA-256, and where",
        "the model comes from.",
        "",
        "## Limits",
        "",
        "The licence and the limits of the base model hold for this one too. How well it answers is not said here: the",
        "gates' reports say it for the uses that they measure.",
    ]


def _method(method: Method) -> str:
    if method.lora is None:
        return "full fine-tuning"
    lora = method.lora
    modules = ", ".join(lora.target_modules)
    return f"LoRA of rank {lora.rank} (alpha {lora.alpha}) on {modules}, merged into the base model's weights"
