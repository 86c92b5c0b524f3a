"""A private base model and a private data set, fetched with a token by Prepare alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from support.hub import TOKEN, private_hub
from support.training import PREPARE, changed

SECRET = {"secretRef": {"name": "hub"}}


@pytest.fixture(scope="module")
def hub(claims: Any) -> Iterator[str]:
    base = claims.path(PREPARE["baseModel"]["uri"])
    files = {
        path.name: path.read_bytes() for path in base.iterdir() if path.is_file() and not path.name.startswith(".")
    }
    rows = "".join(json.dumps({"text": f"row number {number} of the private ones"}) + "\n" for number in range(40))
    models = {"team/base": {**files, "modeling_evil.py": b"raise SystemExit"}}
    with private_hub(models, {"team/rows": {"data/train.jsonl": rows.encode()}}) as address:
        yield address


def prepared(claims: Any, hub: str, token: str | None, changes: dict[str, Any], expect: int) -> dict[str, Any]:
    """Prepare as its pod runs it: a process that reads the hub's settings when it starts."""
    command = [sys.executable, "-m", "serin_trainer", "--config", str(claims.write(changed(PREPARE, changes)))]
    home = str(claims.root / f"hub-{claims.written}")
    environment = {**claims.environment(), "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub, "HF_HOME": home}
    if token is not None:
        environment["SERIN_SECRET_HUB__HF_TOKEN"] = token
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return claims.answer(done.returncode, expect, done.stdout + done.stderr)


def private_base(number: int, **more: Any) -> dict[str, Any]:
    output = f"pvc://artifacts/prepare-private-{number}"
    return {"baseModel": {"uri": "hf://team/base", **more}, "output": output, "key": f"3d01{number:02}"}


def private_rows(number: int, **more: Any) -> dict[str, Any]:
    source = {"name": "rows", "uri": "hf://datasets/team/rows/data/train.jsonl", **more}
    output = f"pvc://artifacts/prepare-rows-{number}"
    few = {"data.split.minValidationRows": 0, "data.split.minTestRows": 0}
    return {"data.train": [source], "output": output, "key": f"3d02{number:02}", **few}


def test_a_private_base_model_is_copied_where_later_pods_read_it(claims: Any, hub: str) -> None:
    known = claims.prepare(output="pvc://artifacts/prepare-open", key="3d0100")["output"]
    found = prepared(claims, hub, TOKEN, private_base(1, **SECRET), expect=0)["output"]
    assert found["baseModelUri"] == "pvc://artifacts/prepare-private-1/base"
    assert found["baseModelDigest"] == known["baseModelDigest"]
    copied = {path.name for path in claims.path(found["baseModelUri"]).iterdir()}
    assert "config.json" in copied
    assert not {"modeling_evil.py", ".cache"} & copied


def test_private_rows_are_read(claims: Any, hub: str) -> None:
    found = prepared(claims, hub, TOKEN, private_rows(1, **SECRET), expect=0)
    assert found["output"]["rows"]["read"] == 40


def test_the_token_is_written_nowhere(claims: Any, hub: str) -> None:
    found = prepared(claims, hub, TOKEN, private_base(2, **SECRET), expect=0)
    assert TOKEN not in found["log"]
    output = claims.path("pvc://artifacts/prepare-private-2")
    assert not any(TOKEN.encode() in path.read_bytes() for path in output.rglob("*") if path.is_file())


def test_without_a_token_the_advice_is_to_name_one(claims: Any, hub: str) -> None:
    for changes, kind in ((private_base(3), "Model"), (private_rows(3), "Dataset")):
        refused = prepared(claims, hub, None, changes, expect=65)
        assert refused["reason"] == f"{kind}NotFound"
        assert "secretRef" in refused["advice"]


def test_a_token_that_is_not_valid_is_told_by_its_secret(claims: Any, hub: str) -> None:
    for changes, kind in ((private_base(4, **SECRET), "Model"), (private_rows(4, **SECRET), "Dataset")):
        refused = prepared(claims, hub, "hf_wrong", changes, expect=65)
        assert refused["reason"] == f"{kind}AccessDenied"
        assert "the token of the Secret 'hub'" in refused["message"]
        assert "hf_wrong" not in refused["log"]


def test_a_file_that_is_not_in_the_data_set_is_told(claims: Any, hub: str) -> None:
    source = {"name": "rows", "uri": "hf://datasets/team/rows/data/other.jsonl", **SECRET}
    refused = prepared(claims, hub, TOKEN, {**private_rows(5), "data.train": [source]}, expect=65)
    assert refused["reason"] == "DatasetNotFound"
