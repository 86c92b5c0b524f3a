"""A model's chat template by its digest, so that numbers made under another one are not taken for comparable.

Not here: rendering (`prompts.py`).
"""

import hashlib
import json

from serin_evaluator.errors import StageError
from serin_evaluator.uris import local_path


def template_digest(uri: str) -> str | None:
    """Of the template in chat_template.jinja, or else in tokenizer_config.json; None when there is none to be read here."""
    if not uri.startswith("pvc://"):
        return None
    try:
        folder = local_path(uri)
        alone = folder / "chat_template.jinja"
        if alone.is_file():
            return _digest(alone.read_text("utf-8"))
        found = json.loads((folder / "tokenizer_config.json").read_text("utf-8")).get("chat_template")
    except (StageError, OSError, ValueError, AttributeError):
        return None
    if isinstance(found, str):
        return _digest(found)
    return _digest(json.dumps(found, sort_keys=True)) if found else None


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
