"""The model with its pipeline, and the proof that they give what was judged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.preprocess.fitted.columns import ARROW
from trainingjob.runtime.serve.served import BadRow, Served, load

from .build import Made, accept, frame, made


def columns_of(served: Served, rows: pd.DataFrame) -> dict[str, pa.Array]:
    return {
        name: pa.array(rows[name], type=ARROW[kind], from_pandas=True)
        for name, kind in served.inputs.items()
    }


def test_raw_rows_get_the_scores_of_scikit_learn_and_numpy(classes: Made) -> None:
    served = load(classes.payload())
    assert list(served.inputs) == ["x", "Full size", "count", "city", "day", "member"]
    new = frame(50, seed=9)
    new.loc[:3, "city"] = "Atlantis"
    for rows in (classes.rows("test"), new, new[:1]):
        answers = served.answers(columns_of(served, rows))
        expected = classes.expected(rows)
        np.testing.assert_allclose(answers.scores, expected, atol=1e-5)
        assert answers.predicted.tolist() == expected.argmax(axis=1).tolist()


def test_raw_rows_get_the_values_of_scikit_learn_and_numpy(values: Made) -> None:
    served = load(values.payload())
    rows = values.rows("test")
    answers = served.answers(columns_of(served, rows))
    assert answers.scores is None
    np.testing.assert_allclose(answers.predicted, values.expected(rows), rtol=1e-5)


def test_what_was_judged_is_what_is_proved(classes: Made, values: Made) -> None:
    for world in (classes, values):
        served = load(world.payload())
        assert served.prove() == 32
        assert served.prove(1e-6, rows=5) == 5
        # The rows are of the test split, and their outputs those of scikit-learn and numpy.
        raw = served.card.dataset.raw
        assert raw is not None
        assert raw.split == "test"
        rows = pd.DataFrame(raw.rows, columns=raw.needed)
        judged = np.array(served.card.outputs)
        expected = world.expected(rows).reshape(judged.shape)
        np.testing.assert_allclose(judged, expected, rtol=1e-4, atol=1e-5)


def changed(name: str, change: Callable[[dict], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / name
        value = json.loads(path.read_text())
        change(value)
        path.unlink()
        path.write_text(json.dumps(value))

    return apply


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-8])


CARD = "trainingjob.json"
BROKEN = {
    "weights cut short": (cut, "ModelCorrupt", "they were changed, or lost in part"),
    "another file": (
        lambda folder: (folder / "more.bin").write_bytes(b"1"),
        "ModelCorrupt",
        "they were changed, or lost in part",
    ),
    "no card": (
        lambda folder: (folder / CARD).unlink(),
        "ModelMissing",
        "there is no accepted model in",
    ),
    "a card that is no JSON": (
        lambda folder: (folder / CARD).write_bytes(b"{"),
        "ModelCorrupt",
        "trainingjob.json is damaged or of another version",
    ),
    "nothing": (shutil.rmtree, "ModelMissing", "there is no accepted model in"),
    "another output was judged": (
        changed(CARD, lambda card: card["outputs"][2].__setitem__(1, 0.9)),
        "SelfTestFailed",
        "1 of 32 rows of the evaluation have other outputs now: row 3 gives 0.",
    ),
    "a step says otherwise": (
        changed(
            CARD,
            lambda card: card["dataset"]["pipeline"][3]["fitted"]["columns"]["x"].update(offset=9),
        ),
        "SelfTestFailed",
        "rows of the evaluation have other outputs now: row ",
    ),
    "nobody has judged": (
        changed(CARD, lambda card: card.pop("outputs")),
        "SelfTestFailed",
        "has no rows with the outputs that were judged",
    ),
    "of an earlier version": (
        changed(CARD, lambda card: card["dataset"].pop("raw")),
        "ModelMissing",
        "does not say what raw rows are like",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_model_that_does_not_reproduce_its_evaluation_is_not_served(
    case: str, classes: Made, tmp_path: Path
) -> None:
    break_it, reason, words = BROKEN[case]
    folder = tmp_path / "accepted"
    shutil.copytree(classes.accepted, folder)
    break_it(folder)
    with pytest.raises(StageFailure) as caught:
        load(classes.payload(model_uri=f"file://{folder}")).prove()
    assert (caught.value.reason, words in caught.value.message) == (reason, True), caught.value
    assert "\n" not in caught.value.message


def test_another_digest_than_that_of_the_folder_is_refused(classes: Made) -> None:
    with pytest.raises(StageFailure, match=r"and aaaaaaaaaaaa… is to be served"):
        load(classes.payload(digest="sha256:" + "a" * 64))


def test_without_a_digest_the_last_accepted_model_is_served(classes: Made, tmp_path: Path) -> None:
    served = load(classes.payload(model_uri=f"file://{classes.folder / 'accepted'}", digest=None))
    assert served.card.model_digest == classes.digest
    with pytest.raises(StageFailure, match="no model was accepted yet") as caught:
        load(classes.payload(model_uri=f"file://{tmp_path}", digest=None))
    assert caught.value.reason == "ModelMissing"


def test_a_null_that_no_step_fills_is_told_by_the_feature(classes: Made) -> None:
    served = load(classes.payload())
    rows = classes.rows("test")[:4].assign(count=pd.array([1, None, 2, 3], dtype="Int64"))
    with pytest.raises(BadRow, match="feature count has 1 nulls, and needs values"):
        served.answers(columns_of(served, rows))


def again(classes: Made, folder: Path) -> Path:
    """The job's folder, for another model of the same dataset."""
    for name in ("dataset", "model"):
        shutil.copytree(classes.folder / name, folder / name)
    return folder


def test_a_small_model_takes_no_threads_beside_the_one_that_asks(classes: Made) -> None:
    """The one that asks is not the one that has loaded it."""
    served = load(classes.payload())
    columns, tasks = columns_of(served, classes.rows("test")), Path("/proc/self/task")

    def begun() -> set[Path]:
        before = {*tasks.iterdir()}
        for _ in range(3):
            served.answers(columns)
        return {*tasks.iterdir()} - before

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(begun).result() == set()
    served.close()


def test_a_threshold_and_the_positive_class_count_as_they_did(
    classes: Made, tmp_path: Path
) -> None:
    """Of three classes there is no positive one; of two a row is taken for it from the threshold
    on, whichever score is the greater."""
    rows = classes.rows("test").assign(kind=lambda rows: rows["kind"].replace("c", "b"))
    world = made(tmp_path, data=classes.data.assign(kind=classes.data["kind"].replace("c", "b")),
                 task={"positive_class": "a"}, threshold=0.3)  # fmt: skip
    served = load(world.payload())
    answers = served.answers(columns_of(served, rows))
    expected = world.expected(rows)
    assert answers.predicted.tolist() == [0 if score >= 0.3 else 1 for score in expected[:, 0]]
    assert set(answers.predicted) == {0, 1}


def test_own_code_that_leaves_a_program_is_served(classes: Made, tmp_path: Path) -> None:
    folder = again(classes, tmp_path)
    shutil.rmtree(folder / "model")
    (folder / "model").mkdir()
    torch.manual_seed(5)
    network = torch.nn.Linear(len(classes.manifest.features), 3)
    example = (torch.zeros(4, len(classes.manifest.features)),)
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(network.eval(), example, dynamic_shapes=shapes)
    torch.export.save(program, folder / "model/model.pt2")
    digest = accept(folder, "classification")
    weights = {f"0.{name}": one.numpy() for name, one in network.state_dict().items()}
    own = replace(classes, folder=folder, digest=digest, weights=weights)
    served = load(own.payload())
    assert served.prove() == 32
    rows = classes.rows("test")
    answers = served.answers(columns_of(served, rows))
    np.testing.assert_allclose(answers.scores, own.expected(rows), atol=1e-5)


def test_predictions_alone_are_no_model_that_could_be_served(classes: Made, tmp_path: Path) -> None:
    folder = again(classes, tmp_path)
    shutil.rmtree(folder / "model")
    (folder / "model").mkdir()
    truth = pq.read_table(folder / "dataset/test")["kind"]
    pq.write_table(
        pa.table({"y_true": truth, "y_pred": truth}), folder / "model/predictions.parquet"
    )
    digest = accept(folder, "classification")
    with pytest.raises(StageFailure, match="has predictions of the training code and no model"):
        load(replace(classes, folder=folder, digest=digest).payload())
