"""The test split's texts, judged by a classifier of texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from ..base.errors import StageFailure
from ..base.log import log
from ..base.text import listed
from ..dataset.classes import written
from ..dataset.columns import BadColumn, plain
from ..dataset.labels import Classes
from ..dataset.rows import Rows
from ..storage import shown
from .judgement import Batch
from .sandbox import SandboxedTexts
from .sources import batch_of

# At once, and of how many tokens at most: some minutes of one CPU for half a billion weights.
_TEXTS, _TOKENS = 32, 8192


def predict(config: Path, split: Rows) -> Iterator[Batch]:
    """Predictions for every row, in batches.

    Raises StageFailure(ModelCorrupt, SettingUnsuitable, FeatureHasNulls, DatasetInvalid)."""
    column = column_of(split)
    cut = 0
    with closing(SandboxedTexts(config)) as model:
        places = [0] if split.classes is None else order(config, model.labels, split.classes)
        if split.classes is None and len(model.labels) != 1:
            raise StageFailure(
                "ModelCorrupt", f"{config} has {len(model.labels)} labels, expected one value"
            )
        for path, batch in split.batches([column, split.manifest.label], _TEXTS):
            try:
                texts = plain(batch.column(column)).to_pylist()
            except BadColumn as error:
                words = f"feature {column} in {shown(path)} {error}"
                raise StageFailure("FeatureHasNulls", words) from error
            found = [model.predict(group) for group in _groups(texts, model.most)]
            cut += sum(longer for _, longer in found)
            logits = np.concatenate([one for one, _ in found])[:, places]
            yield batch_of(config, split.truth(path, batch), logits, split.classes)
        if cut:
            log(
                f"{cut} of {split.count} texts are longer than the {model.most} tokens that the "
                "model takes: it was judged by their beginnings"
            )


def _groups(texts: Sequence[str], most: int | None) -> Iterator[Sequence[str]]:
    """Of as many tokens as may be looked at at once, at a token a character, or of one text."""
    group: list[str] = []
    longest = 0
    for text in texts:
        longest = max(longest, min(len(text) + 2, most or len(text) + 2))
        if group and longest * (len(group) + 1) > _TOKENS:
            yield group
            group, longest = [], min(len(text) + 2, most or len(text) + 2)
        group.append(text)
    if group:
        yield group


def column_of(split: Rows) -> str:
    """The one feature that is text. Raises StageFailure(SettingUnsuitable)."""
    found = [name for name in split.features if split.manifest.columns.get(name) == "string"]
    if len(found) == 1:
        return found[0]
    has = f"{len(found)} of text ({listed(found)})" if found else "none of text"
    raise StageFailure(
        "SettingUnsuitable",
        f"the classifier takes one column of text, and of the features there "
        f"{'are' if found else 'is'} {has}: name it in task.features, or leave predictions.parquet "
        "in place of the model",
    )


def order(config: Path, labels: Sequence[str], classes: Classes) -> list[int]:
    """For each class the model's label that means it: of the same name, or, when nobody has named
    them, of the same place. Raises StageFailure(ModelCorrupt)."""
    if len({*labels}) == len(labels) == len(classes):
        if [*labels] == [f"LABEL_{place}" for place in range(len(labels))]:
            return [*range(len(labels))]
        names = [next((n for n in written(v) if n in labels), None) for v in classes.values]
        if None not in names:
            return [labels.index(str(name)) for name in names]
    raise StageFailure(
        "ModelCorrupt",
        f"{config} has the labels {listed([*labels])} (id2label), and the dataset the classes "
        f"{classes}: build the model with num_labels={len(classes)} and "
        'id2label=dict(enumerate(manifest["classes"]))',
    )
