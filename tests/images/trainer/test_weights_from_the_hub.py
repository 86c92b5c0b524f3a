"""A model's files from a private repository of a hub, as the init container of a pod that serves fetches and proves them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from serin_trainer import manifest
from serin_trainer.fetch import copy_name
from support.hub import TOKEN, private_hub

FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 1000, "notes/card.md": b"made by hand"}
SECRET = {"secretRef": {"name": "hub"}}


class Pushed:
    """A model's folder as a person has pushed it, and the pod that fetches it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        made = folder / "made"
        for name, content in FILES.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_bytes(content)
        self.digest, _ = manifest.write(made, {})
        self.files = {str(path.relative_to(made)): path.read_bytes() for path in made.rglob("*") if path.is_file()}

    def fetch(
        self, expect: int, token: str | None = TOKEN, revision: str | None = None, **weights: Any
    ) -> dict[str, Any]:
        config, said = self.folder / "fetch.json", self.folder / "said"
        document = {
            "stage": "Fetch", "key": "5f00cc", "job": {"namespace": "ml", "name": "bot"}, "output": str(self.folder / "weights"),
            "weights": {"uri": "hf://team/bots", **SECRET, **weights}, "models": [{"folder": "model", "digest": self.digest}],
        }  # fmt: skip
        config.write_text(json.dumps(document))
        said.unlink(missing_ok=True)
        with private_hub({"team/bots": self.files}, {}, revision or copy_name(self.digest)) as hub:
            own = {
                "HF_ENDPOINT": hub,
                "HF_HOME": str(self.folder / "home"),
                "SERIN_RESULT_PATH": str(said),
                "HF_HUB_OFFLINE": "0",
            }
            own |= {"SERIN_SECRET_HUB__HF_TOKEN": token} if token is not None else {}
            command = [sys.executable, "-m", "serin_trainer.fetch", "--config", str(config)]
            done = subprocess.run(
                command, env={**os.environ, **own}, capture_output=True, text=True, timeout=300, check=False
            )
        log = done.stdout + done.stderr
        assert done.returncode == expect, log
        assert TOKEN not in log
        return json.loads(said.read_bytes()) if said.exists() else {}

    @property
    def fetched(self) -> dict[str, bytes]:
        folder = self.folder / "weights" / "model"
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def pushed(tmp_path: Path) -> Pushed:
    return Pushed(tmp_path)


def test_the_revision_of_the_digest_is_fetched_and_nothing_that_its_manifest_does_not_list(pushed: Pushed) -> None:
    whole = dict(pushed.files)
    pushed.files["modeling_evil.py"] = b"raise SystemExit"
    pushed.fetch(expect=0)
    assert pushed.fetched == whole


def test_a_file_that_was_changed_at_the_hub_is_refused_by_its_name(pushed: Pushed) -> None:
    pushed.files["model.safetensors"] = b"Weights" * 1000
    told = pushed.fetch(expect=65)
    assert told["reason"] == "ModelDamaged"
    assert f"the file model.safetensors of hf://team/bots@{copy_name(pushed.digest)} has SHA-256" in told["message"]


def test_a_file_that_was_not_pushed_is_told_by_its_name_and_waited_for(pushed: Pushed) -> None:
    content = pushed.files.pop("model.safetensors")
    told = pushed.fetch(expect=75)
    assert told["reason"] == "WeightsNotFound"
    assert "has no file model.safetensors" in told["message"]
    pushed.files["model.safetensors"] = content
    pushed.fetch(expect=0)


def test_a_model_that_nobody_pushed_is_told_by_the_revision_that_is_looked_for(pushed: Pushed) -> None:
    told = pushed.fetch(expect=75, revision="main")
    assert told["reason"] == "WeightsNotFound"
    assert f"no model team/bots at revision {copy_name(pushed.digest)}" in told["message"]


@pytest.mark.parametrize(
    ("token", "more", "reason"),
    [(None, {"secretRef": None}, "WeightsNotFound"), ("hf_wrong", {}, "WeightsAccessDenied")],
)
def test_who_may_not_read_is_told_so_and_the_model_is_not_blamed(
    pushed: Pushed, token: str | None, more: dict[str, Any], reason: str
) -> None:
    told = pushed.fetch(expect=75, token=token, **more)
    assert told["reason"] == reason
    assert "hf_wrong" not in json.dumps(told)
