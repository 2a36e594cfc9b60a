"""Where a model of conversations is to stop: at the token behind an answer."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path

from ..base import bounded, templates
from .folder import json_of
from .tokenizer import Tokenizer

GENERATION = "generation_config.json"
_ANSWER = "trainingjob answers"
_CONVERSATION = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _ANSWER}]


def stop_at_answers(folder: Path, end: int) -> None:
    """Have whoever generates by the model in ``folder``, which has a tokenizer and a chat template,
    stop where an answer ends, and at the token ``end``. Raises OSError."""
    path = folder / GENERATION
    config = json_of(path) if path.is_file() else {}
    if not isinstance(config, dict):
        config = {}
    known = config.get("eos_token_id", [])
    known = known if isinstance(known, list) else [known]
    found = [*known, _end_of_answers(folder, end), end]
    config["eos_token_id"] = list(dict.fromkeys(one for one in found if isinstance(one, int)))
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _end_of_answers(folder: Path, end: int) -> int | None:
    """The special token behind an answer; None where the template puts none there."""
    try:
        with closing(Tokenizer(folder, end)) as tool:
            if tool.template is None:
                return None
            text, _ = templates.render(_CONVERSATION, tool.template, tool.special)
    # Whatever a template or a tokenizer does: of other conversations they made something.
    except (ValueError, bounded.TooMuch, bounded.Refused):
        return None
    behind = text.rpartition(_ANSWER)[2]
    for number, token in sorted(tool.added.items()):
        if re.match(rf"\s*{re.escape(token)}", behind):
            return number
    return None
