"""A language model's folder as a model that is used with its weights divided over a gang."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..base.errors import StageFailure
from ..gang.collectives import Gang
from ..gang.division import Part, divide
from . import pretrained, pretrained_model, transformer
from .folder import Vocabulary


def load(folder: Path, tokens: Vocabulary, gang: Gang) -> Any:
    """As ``transformer.load``; each rank reads its part of each tensor, and has one layer at a time
    whole.

    Raises StageFailure(ModelCorrupt), also for an architecture that is not known here."""
    try:
        origin = pretrained.look_at(str(folder), folder)
        config = pretrained_model.config_of(origin)
        model: Any = pretrained_model.build(origin, config)
        names = pretrained_model.names_of(model, origin)
    except StageFailure as failure:
        words = failure.message.removeprefix(f"{pretrained.FIELD}: ")
        message = f"it cannot be judged by several processes: {words}"
        raise StageFailure("ModelCorrupt", message) from failure
    transformer.must_know(folder, model, tokens)
    units = transformer.units_of(model)
    divide(units, model, gang.world, gang.world, gang.device, bf16=False)
    # There is no backward that would need them again.
    model.set_reshard_after_forward(True)
    part = Part(gang.rank, gang.world)
    pretrained_model.fill(model, origin, names, gang.device, part.of)
    return model.eval()
