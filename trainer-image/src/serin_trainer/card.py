"""The model card: what a person should know who finds the model's folder without its job.

It is covered by the model's digest, so it says only what follows from the inputs: the same training makes the same card.
What varies from run to run stands in the manifest's lineage.
"""

from __future__ import annotations

from .config import ConsolidateConfig, Method

FILE_NAME = "README.md"
_RELATION = {False: "finetune", True: "adapter"}
_TITLE = {False: "A fine-tuned causal language model", True: "An adapter for a causal language model"}
_USE = (
    "from transformers import AutoModelForCausalLM, AutoTokenizer",
    "",
    'folder = "."  # where this file lies',
    "model = AutoModelForCausalLM.from_pretrained(folder)",
    "tokenizer = AutoTokenizer.from_pretrained(folder)",
)
_USE_ADAPTER = (
    "from peft import PeftModel",
    "from transformers import AutoModelForCausalLM, AutoTokenizer",
    "",
    'folder, base = ".", "…"  # where this file lies, and the base model of the digest in base.json',
    "model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)",
    "tokenizer = AutoTokenizer.from_pretrained(folder)",
)


def text(config: ConsolidateConfig) -> str:
    """Markdown with the hub's front matter (https://huggingface.co/docs/hub/model-cards)."""
    return "\n".join([*_front_matter(config), "", *_body(config), ""])


def _front_matter(config: ConsolidateConfig) -> list[str]:
    lines = ["pipeline_tag: text-generation"]
    hub = config.base_model.known_as.removeprefix("hf://")
    if hub != config.base_model.known_as:
        lines += [f"base_model: {hub.partition('@')[0]}", f"base_model_relation: {_RELATION[config.method.kept]}"]
    library = "peft" if config.method.kept else "transformers"
    return ["---", f"library_name: {library}", *lines, f"tags: [serin, {config.method.type.lower()}]", "---"]


def _body(config: ConsolidateConfig) -> list[str]:
    lineage = config.lineage
    rows = [
        ("Base model", f"`{config.base_model.known_as}`"),
        ("Base model digest", f"`{config.base_model.digest}`"),
        ("Data digest", f"`{lineage.data_digest}`"),
        ("Method", _method(config.method)),
        *((name, str(value)) for name, value in sorted(lineage.hyperparameters.items())),
        ("Training key", f"`{lineage.train_key}`"),
    ]
    return [
        f"# {_TITLE[config.method.kept]}",
        "",
        f"Trained and consolidated by Serin from `{config.base_model.known_as}`.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
        "",
        "## Use",
        "",
        "```python",
        *(_USE_ADAPTER if config.method.kept else _USE),
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
    then = "kept as an adapter beside the base model" if method.kept else "merged into the base model's weights"
    if method.prompt_tuning is not None:
        return f"a prompt of {method.prompt_tuning.virtual_tokens} learned embeddings, {then}"
    if method.ia3 is not None:
        return f"IA3 on {', '.join(method.ia3.target_modules)}, {then}"
    if method.lora is None:
        return "full fine-tuning"
    lora = method.lora
    modules = ", ".join(lora.target_modules)
    beside = " beside weights of 4 bits (NF4)" if method.quantised else ""
    return f"{method.type} of rank {lora.rank} (alpha {lora.alpha}) on {modules}{beside}, {then}"
