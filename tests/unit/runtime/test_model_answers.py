"""Where those who generate by a model of conversations stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from tests.unit.preprocess.chats import CHATML, TRIMMED, plain
from trainingjob.runtime.model.answers import stop_at_answers

WORDS = {"<|endoftext|>": 0, "<|im_end|>": 1, "<|im_start|>": 2, "a": 3}


@pytest.mark.parametrize(
    ("template", "before", "stops"),
    [
        (plain(CHATML), None, [1, 7]),
        (plain(CHATML), {"eos_token_id": 0, "top_k": 20}, [0, 1, 7]),
        (plain(CHATML), {"eos_token_id": [1, 0]}, [1, 0, 7]),
        (plain(TRIMMED), {"eos_token_id": 0}, [0, 7]),
        (plain(TRIMMED), [1], [0, 7]),
        ("{% for m in messages %}{{ m.content }} {% endfor %}", None, [7]),
        ("{{ raise_exception('no') }}", {"eos_token_id": 0}, [0, 7]),
    ],
)
def test_generation_stops_at_the_end_of_an_answer(
    tmp_path: Path, template: str, before: Any, stops: list[int]
) -> None:
    tool = Tokenizer(models.WordLevel(WORDS, unk_token="a"))
    PreTrainedTokenizerFast(
        tokenizer_object=tool,
        eos_token="<|endoftext|>",
        bos_token="<|endoftext|>",
        additional_special_tokens=["<|im_end|>", "<|im_start|>"],
    ).save_pretrained(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(template)
    if before is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(before))
    stop_at_answers(tmp_path, 7)
    after = json.loads((tmp_path / "generation_config.json").read_text())
    kept = before if isinstance(before, dict) else {}
    assert after == {**kept, "eos_token_id": stops}
