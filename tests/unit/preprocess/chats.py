"""Conversations, and chat templates as people's models have them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from trainingjob.runtime.preprocess.tokens import tokenizer

TASK = {"type": "languageModel", "messages": "messages"}
_RNG = random.Random(1)
_LINES = [line.strip() for text in topics.values() for line in text.splitlines() if line.strip()]


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def conversation(turns: int, system: bool) -> list[dict[str, str]]:
    found = [said("system", "Be brief.")] if system else []
    for _ in range(turns):
        found.append(said("user", _RNG.choice(_LINES)))
        found.append(said("assistant", "\n".join(_RNG.choices(_LINES, k=_RNG.randint(1, 3)))))
    return found


CHATS = [conversation(1 + n % 3, n % 4 == 0) for n in range(60)]
CHATS += [
    [said("user", "Ünïcödé 😀?"), said("assistant", "😀 ja"), said("user", "no answer to this")],
    [said("user", "blanks"), said("assistant", "  around \n")],
    [said("user", "an end <|im_end|> of one"), said("assistant", "</s> and <|im_end|> of another")],
]

# Each with the same one that marks what is generated.
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}"
    "{GEN}{{ m['content'] + '<|im_end|>' }}{END}{% else %}{{ m['content'] + '<|im_end|>' }}"
    "{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TRIMMED = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{GEN}{{ m['content'] | trim + eos_token }}{END}{% elif m['role'] == 'user' %}"
    "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
)
# What was said before the last question goes without its thoughts.
FORGETS = (
    "{% set last = messages | map(attribute='role') | list %}{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}{% if loop.last %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{GEN}{{ m.content + '<|im_end|>' }}{END}"
    "{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
)


def plain(template: str) -> str:
    return template.replace("{GEN}", "").replace("{END}", "")


def marked(template: str) -> str:
    return template.replace("{GEN}", "{% generation %}").replace("{END}", "{% endgeneration %}")


def folder(path: Path, template: str | None, **config: Any) -> Path:
    """A tokenizer as save_pretrained leaves it."""
    from tokenizers import Tokenizer

    path.mkdir()
    tool = Tokenizer.from_str(tokenizer.learn(_LINES, 400, "</s>").text)
    tool.add_special_tokens(["<|im_start|>", "<|im_end|>", "<s>"])
    tool.save(str(path / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": {"content": "<s>", "__type": "AddedToken"},
        "eos_token": "</s>",
        "clean_up_tokenization_spaces": False,
        **config,
    }
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    if template is not None:
        (path / "chat_template.jinja").write_text(template)
    return path


def source(path: Path, chats: list[Any]) -> Path:
    path.write_text(
        "".join(json.dumps({"messages": chat, "id": n}) + "\n" for n, chat in enumerate(chats))
    )
    return path
