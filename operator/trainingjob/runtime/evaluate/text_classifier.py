"""A classifier of texts as Hugging Face's ``save_pretrained`` leaves it: config.json, safetensors
and the tokenizer, run by transformers' own architectures alone, in a process of its own
(``sandbox.py``)."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..base.errors import StageFailure
from ..base.text import listed, one_line
from ..model.folder import CONFIG

# What a tokenizer says that was never told how much its model takes: 1e30.
_NO_LIMIT = 1_000_000


@dataclass
class TextClassifier:
    """Maps n texts to logits float64 [n, labels].

    ``labels``: names of the outputs. ``most``: tokens of a text that it takes, of which the first
    are taken; None without a bound. ``padded``: whether texts of several lengths may come at once.
    """

    folder: Path
    model: Any
    tokenizer: Any
    labels: Sequence[str]
    most: int | None
    padded: bool

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Raises StageFailure(ModelCorrupt) when it needs code of its own, lacks weights, or is of
        no architecture that transformers has."""
        # Before transformers looks: nothing is fetched, here or by a kernel that a config names.
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        import torch
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        own: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            config = AutoConfig.from_pretrained(folder, **own)
            if config.problem_type == "multi_label_classification":
                raise _corrupt(folder, "gives a row several labels, and the task has one")
            if getattr(config, "quantization_config", None):
                raise _corrupt(folder, "is quantized: leave the model that it was made of")
            tokenizer = AutoTokenizer.from_pretrained(folder, **own)
            model, found = AutoModelForSequenceClassification.from_pretrained(
                folder,
                config=config,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **own,
            )
            known = getattr(model.get_input_embeddings(), "num_embeddings", len(tokenizer))
            labels = [str(config.id2label[place]) for place in range(config.num_labels)]
        except (StageFailure, MemoryError):
            raise
        except Exception as error:  # of any type, as a config says what is built
            raise _corrupt(folder, f"is no model of transformers: {one_line(error)}") from error
        if missing := sorted(found["missing_keys"]):
            raise _corrupt(folder, f"lacks weights that its config asks for ({listed(missing)})")
        if known < len(tokenizer):
            raise _corrupt(folder, f"knows {known} tokens, and its tokenizer has {len(tokenizer)}")
        pads = getattr(config.get_text_config(), "pad_token_id", None) is not None
        padded = tokenizer.pad_token_id is not None and pads
        return cls(folder, model.eval(), tokenizer, labels, _most(model, tokenizer), padded)

    def predict(self, texts: Sequence[str]) -> tuple[np.ndarray, int]:
        """Logits, and how many of the texts were longer than ``most``."""
        step = len(texts) if self.padded else 1
        parts = [self._run(texts[at : at + step]) for at in range(0, len(texts), max(1, step))]
        return np.concatenate([logits for logits, _ in parts]), sum(cut for _, cut in parts)

    def _run(self, texts: Sequence[str]) -> tuple[np.ndarray, int]:
        import torch

        limit: dict[str, Any] = {"truncation": True, "max_length": self.most} if self.most else {}
        given = self.tokenizer([*texts], padding=self.padded, return_tensors="pt", **limit)
        if given["input_ids"].shape[1] == 0:  # of texts without a character, where nothing is added
            given = self.tokenizer(
                [self.tokenizer.eos_token or "."] * len(texts), return_tensors="pt"
            )
        takes = inspect.signature(self.model.forward).parameters
        with torch.inference_mode():
            found = self.model(**{name: x for name, x in given.items() if name in takes})
        logits: np.ndarray = found.logits.double().numpy()
        return logits, sum(bool(one.overflowing) for one in given.encodings or ())


def _most(model: Any, tokenizer: Any) -> int | None:
    """The least that tokenizer, config and table of positions say."""
    found = [tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None)]
    for name, module in model.named_modules():
        # Of RoBERTa and its like, whose positions begin behind that of padding.
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            found.append(module.num_embeddings - padding - 1)
    limits = [int(one) for one in found if isinstance(one, int | float) and 0 < one < _NO_LIMIT]
    return min(limits, default=None)


def _corrupt(folder: Path, what: str) -> StageFailure:
    return StageFailure("ModelCorrupt", f"{folder / CONFIG} {what}")
