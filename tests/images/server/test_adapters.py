"""An adapter is served on its base, as one model."""

from pathlib import Path

import pytest
from serin_server.errors import ModelError
from support.tiny_model import write_adapter, write_model


@pytest.mark.parametrize("kind", ["LORA", "IA3", "PROMPT_TUNING"])
def test_what_is_served_is_what_peft_computes(tmp_path: Path, kind: str) -> None:
    import torch
    from peft import PeftModel
    from serin_server.batch import Batch
    from serin_server.model import load
    from serin_server.sampling import Sampler
    from transformers import AutoModelForCausalLM

    base, folder = tmp_path / "base", tmp_path / "adapter"
    write_adapter(folder, base, write_model(base), kind)
    served = load(folder, "pvc://a/adapter", base)
    peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    prompt = served.prompt("What is a Pod?\n")
    batch = Batch(served.model)
    tokens = [batch.admit([prompt], [Sampler(0.0, 1.0, seed=None)])[0], *(batch.step()[0] for _ in range(7))]
    learned = 5 if kind == "PROMPT_TUNING" else 0
    ids = torch.tensor([prompt[learned:]])  # peft puts the learned prompt before it by itself
    with torch.inference_mode():
        for token in tokens:
            expected = peft(input_ids=ids).logits[0, -1]
            assert token == int(expected.argmax())
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)


def test_a_prompt_of_another_width_is_refused(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from serin_server.model import load

    base, folder = tmp_path / "base", tmp_path / "adapter"
    write_adapter(folder, base, write_model(base), "PROMPT_TUNING")
    save_file({"prompt_embeddings": torch.zeros(5, 3)}, folder / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"of 64 numbers each, and has them of the shape \[5, 3\]"):
        load(folder, "pvc://a/adapter", base)
