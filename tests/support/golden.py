"""Files that pin what others rely on. `SERIN_UPDATE_GOLDEN=1` writes them anew, for a person to read the difference."""

import json
import os
from pathlib import Path
from typing import Any

CONTRACT = Path(__file__).parents[1] / "golden" / "contract"


def assert_schema_is_current(name: str, schema: dict[str, Any]) -> None:
    """The file tests/golden/contract/<name>.schema.json holds this JSON schema."""
    path = CONTRACT / f"{name}.schema.json"
    text = json.dumps(schema, indent=2, sort_keys=True) + "\n"
    if os.environ.get("SERIN_UPDATE_GOLDEN") == "1":
        path.write_text(text)
    assert path.read_text() == text, f"{path.name} is not current; read the change, then run with SERIN_UPDATE_GOLDEN=1"
