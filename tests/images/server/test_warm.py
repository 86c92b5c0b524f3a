"""A server has computed before it listens, so that its first user does not pay for what torch sets up lazily."""

import json
from pathlib import Path
from typing import Any

import pytest
import serin_server.serving
from serin_server.__main__ import main
from torch.nn.modules.module import register_module_forward_hook


def test_the_model_has_computed_before_anybody_can_ask(
    models: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []
    before_listening: list[str] = []

    def listen(service: Any) -> None:
        assert service.engine.alive
        before_listening.extend(computed)

    monkeypatch.setenv("SERIN_PVC_ROOT", str(models.root))
    monkeypatch.setattr(serin_server.serving, "serve", listen)
    (tmp_path / "config.json").write_text(json.dumps(config("babbler")))
    counting = register_module_forward_hook(lambda module, given, found: computed.append(type(module).__name__))
    try:
        assert main(["--config", str(tmp_path / "config.json")]) == 0
    finally:
        counting.remove()

    assert [name for name in before_listening if name.endswith("ForCausalLM")] == ["LlamaForCausalLM"]
