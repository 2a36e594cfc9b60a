"""A model that is served, or predicts, in another form: that form is what proves itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest

from trainingjob.api.payload import JobRef, PredictPayload
from trainingjob.api.v1alpha1.export import Export
from trainingjob.api.v1alpha1.input import Input
from trainingjob.api.v1alpha1.reported import Variant
from trainingjob.runtime import predict
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.evaluate import variants
from trainingjob.runtime.evaluate.publication import CARD, Card
from trainingjob.runtime.evaluate.report import MetricsFile
from trainingjob.runtime.model.export import write_variants
from trainingjob.runtime.serve import page
from trainingjob.runtime.serve.protocol import metadata
from trainingjob.runtime.serve.served import columns_of, load

from .build import Made, accept, frame, made
from .test_predict_stage import found

EXPORT = Export.model_validate({"formats": ["onnx"], "quantize": {"int8": {"maxDrop": 1}}})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A model with both variants, which were accepted."""
    it = made(tmp_path_factory.mktemp("exported"), "regression")
    arrays = {name: one.astype(np.float32) for name, one in it.weights.items()}
    write_variants(it.folder / "model", it.config, arrays, EXPORT)
    it.digest = accept(it.folder, "regression", uid="2", export=EXPORT)
    return it


@pytest.fixture
def other(exported: Made, tmp_path: Path) -> Iterator[Made]:
    """The same, for a test to change."""
    folder = tmp_path / "exported"
    shutil.copytree(exported.folder, folder)
    yield Made(**{**vars(exported), "folder": folder})


def card_of(it: Made) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((it.accepted / CARD).read_text())
    return card


def change(it: Made, card: dict[str, Any]) -> None:
    (it.accepted / CARD).write_text(json.dumps(card))


def outputs_of(it: Made, name: str) -> np.ndarray:
    """[n, 1]: of the rows that the card shows, by onnxruntime alone."""
    raw = card_of(it)["dataset"]["raw"]
    names = card_of(it)["dataset"]["features"]
    rows = pd.DataFrame(raw["features"], columns=names)[it.config.features]
    path = it.accepted / "variants" / name / "model.onnx"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (values,) = session.run(None, {"features": rows.to_numpy(np.float32)})
    return np.asarray(values, dtype=np.float64)


@pytest.mark.parametrize("name", ["onnx", "int8"])
def test_it_proves_itself_by_what_it_gave_itself(exported: Made, name: str) -> None:
    card = card_of(exported)
    (told,) = [one for one in card["report"]["variants"] if one["name"] == name]
    np.testing.assert_allclose(told["outputs"], outputs_of(exported, name), rtol=1e-5, atol=1e-5)
    off = np.abs(np.array(told["outputs"]) - np.array(card["outputs"])).max()
    assert bool(off > 1e-3) is (name == "int8"), "weights of 8 bits give other numbers"
    with closing(load(exported.payload(variant=name))) as served:
        assert served.prove() == len(card["outputs"]) > 0
        assert served.version == f"{exported.accepted.name}-{name}"
        assert metadata("digits", served)["versions"] == [served.version]
        raw = served.card.dataset.raw
        assert raw is not None
        wanted = np.array(told["outputs"])[:, 0]
        answers = served.answers(columns_of(raw, len(wanted), served.inputs))
        np.testing.assert_allclose(answers.predicted, wanted, rtol=1e-5, atol=1e-5)
        # Numbers of 8 bits are scaled by the largest one of a batch.
        off = np.abs(served.answers(columns_of(raw, 5, served.inputs)).predicted - wanted[:5]).max()
        assert bool(off > 1e-5) is (name == "int8") and off < 0.05
        assert served.prove(rows=5) == 5, "by as many rows as are asked for, in the same batch"


def test_the_model_itself_is_served_when_none_is_named(exported: Made) -> None:
    with closing(load(exported.payload())) as served:
        assert served.prove() > 0
        assert served.version == exported.accepted.name


def refused(it: Made, **more: Any) -> StageFailure:
    with pytest.raises(StageFailure) as caught, closing(load(it.payload(**more))) as served:
        served.prove()
    return caught.value


def test_a_server_that_gives_other_outputs_does_not_serve_it(other: Made) -> None:
    card = card_of(other)
    for one in card["report"]["variants"]:
        one["outputs"] = [[value + 0.5] for (value,) in one["outputs"]]
    change(other, card)
    failure = refused(other, variant="int8")
    assert failure.reason == "SelfTestFailed"
    assert "have other outputs now" in failure.message


def test_its_file_is_one_of_those_that_the_digest_is_of(other: Made) -> None:
    folder = other.accepted / "variants"
    shutil.copy(folder / "onnx/model.onnx", folder / "int8/model.onnx")
    failure = refused(other, variant="int8")
    assert failure.reason == "ModelCorrupt"
    assert "they were changed" in failure.message


def test_one_that_was_refused_is_not_served_and_says_which_are(other: Made) -> None:
    card = card_of(other)
    card["report"]["variants"][1] |= {"accepted": False, "message": "it loses too much"}
    change(other, card)
    failure = refused(other, variant="int8")
    assert failure.reason == "VariantUnavailable"
    words = "variant int8 was refused: it loses too much; there is onnx, and the model itself"
    assert failure.message == words


def test_a_card_without_what_proves_them_is_written_anew_and_the_files_stay(other: Made) -> None:
    """One of a version that kept no outputs of variants, whose model may be served."""
    card = card_of(other)
    proof = [one.pop("outputs") for one in card["report"]["variants"]]
    change(other, card)
    before = {path: path.stat().st_ino for path in other.accepted.rglob("*") if path.is_file()}
    accept(other.folder, "regression", uid="2", export=EXPORT)
    assert [one["outputs"] for one in card_of(other)["report"]["variants"]] == proof
    after = {path: path.stat().st_ino for path in other.accepted.rglob("*") if path.is_file()}
    assert {path for path, file in after.items() if before.get(path) != file} == {
        other.accepted / CARD
    }


def test_one_that_was_never_made_is_told_so(values: Made) -> None:
    failure = refused(values, variant="int8")
    assert failure.reason == "VariantUnavailable"
    assert failure.message == (
        "variant int8 was not made when the model was judged; there is no other variant, and the "
        "model itself"
    )


class Before(MetricsFile):
    """As an earlier version has it."""

    variants: list[Variant] | None = None


def test_a_server_of_an_earlier_version_reads_the_card(exported: Made, values: Made) -> None:
    card = card_of(exported)
    assert [one.name for one in Before.model_validate(card["report"]).variants or ()] == [
        "onnx",
        "int8",
    ]
    assert {*card} == {*card_of(values)}, "nothing of a card is new"
    assert "variants" not in card_of(values)["report"]


@pytest.mark.parametrize("case", ["published by an earlier version", "refused by another run"])
def test_it_can_be_served_once_the_same_model_was_judged_anew(
    case: str, other: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, earlier = card_of(other), case.startswith("published")
    for one in card["report"]["variants"]:
        del one["outputs"]
        one["accepted"] = earlier
    change(other, card)
    failure = refused(other, variant="int8")
    assert failure.reason == ("SelfTestFailed" if earlier else "VariantUnavailable")
    if earlier:
        words = "has no rows with the outputs that were judged of variant int8"
        assert failure.message.endswith(words)
    accept(other.folder, "regression", uid="3", export=EXPORT)
    with closing(load(other.payload(variant="int8"))) as served:
        assert served.prove() > 0
    if not earlier:
        # Nothing is taken away from a server by a run that bears less.
        there = card_of(other)
        monkeypatch.setattr(variants, "_lost", lambda *_: "accuracy")
        accept(other.folder, "regression", uid="4", export=EXPORT)
        assert card_of(other) == there


def test_rows_are_predicted_by_it(exported: Made, tmp_path: Path) -> None:
    rows = frame(60, seed=31).drop(columns=["kind", "y"])
    rows.to_csv(tmp_path / "new.csv", index=False)

    def values_by(variant: str | None) -> tuple[np.ndarray, dict[str, Any]]:
        predict.run(
            PredictPayload(
                job=JobRef(namespace="team", name="digits", uid="1"),
                attempt=1,
                model_uri=f"file://{exported.accepted}",
                digest=exported.digest,
                variant=variant,
                input=Input.model_validate({"uri": f"file://{tmp_path}/new.csv", "format": "csv"}),
                output=f"file://{tmp_path}/out",
            )
        )
        told = json.loads((tmp_path / "out/predictions.json").read_text())
        return found(tmp_path)["prediction"].to_numpy(), told

    exact, told = values_by(None)
    assert "variant" not in told
    by_onnx, _ = values_by("onnx")
    by_int8, told = values_by("int8")
    assert told["variant"] == "int8"
    np.testing.assert_allclose(exact, exported.expected(rows), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(by_onnx, exact, rtol=1e-4, atol=1e-4)
    assert 1e-3 < np.abs(by_int8 - exact).max() < 2


async def test_the_page_says_which_form_it_is(exported: Made) -> None:
    with closing(load(exported.payload(variant="int8"))) as served:
        shown = await page.written("digits", served, {}, answers)
    assert f"{exported.accepted.name}-int8" in shown
    assert "<h2>Variant int8</h2>" in shown and "<h2>Variant onnx</h2>" not in shown
    with closing(load(exported.payload())) as served:
        assert "<h2>Variant" not in await page.written("digits", served, {}, answers)


async def answers(_: Any) -> Any:
    raise AssertionError("nobody asks")


def test_the_record_is_read_as_it_is_written(exported: Made) -> None:
    card = Card.read(exported.accepted)
    assert [bool(one.outputs) for one in card.report.variants or ()] == [True, True]
    judged = json.loads((exported.folder / "evaluation/metrics.json").read_text())["variants"]
    assert all("outputs" not in one for one in judged)
