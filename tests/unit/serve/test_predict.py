"""The rows of a file: what is made of them, and of which files nothing can be made."""

from __future__ import annotations

import gzip
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from trainingjob.api.payload import Report, StageError
from trainingjob.api.v1alpha1.input import Input
from trainingjob.api.v1alpha1.reasons import REASONS, ReasonName, remedy_of_accepted
from trainingjob.cli.serve import _why as why
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.predict import command as module
from trainingjob.runtime.predict import rows as rows_module
from trainingjob.runtime.predict.command import Request, predict

from .build import Made, frame

Change = Callable[[pd.DataFrame], pd.DataFrame]


def predicted(model: Made, source: Path, output: Path, **more: object) -> pd.DataFrame:
    format_ = {"parquet": "parquet", "json": "json"}.get(source.suffix[1:], "csv")
    given = Input.model_validate({"uri": f"file://{source}", "format": format_, **more})
    rows = predict(Request(model=model.payload(), input=given, output=str(output), keep=["note"]))
    found = (
        pq.read_table(output).to_pandas() if output.suffix == ".parquet" else pd.read_csv(output)
    )
    assert len(found) == rows
    return found


WRITTEN: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    "new.csv": lambda rows, path: rows.to_csv(path, index=False),
    "new.csv.gz": lambda rows, path: path.write_bytes(gzip.compress(rows.to_csv().encode())),
    "new.parquet": lambda rows, path: rows.to_parquet(path),
    "new.json": lambda rows, path: rows.assign(day=rows["day"].astype(str)).to_json(
        path, orient="records", lines=True
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_rows_of_every_format_are_predicted_in_their_order(
    name: str, classes: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "ROWS", 300)  # several times
    rows = frame(1000, seed=7)
    WRITTEN[name](rows, tmp_path / name)
    found = predicted(classes, tmp_path / name, tmp_path / "out.csv")
    assert found["note"].tolist() == rows["note"].tolist()
    scores = found[[f"probability_{name}" for name in "abc"]]
    np.testing.assert_allclose(scores, classes.expected(rows), atol=1e-5)


def test_a_regression_gives_values(values: Made, tmp_path: Path) -> None:
    rows = frame(50, seed=8)
    rows.to_parquet(tmp_path / "new.parquet")
    found = predicted(values, tmp_path / "new.parquet", tmp_path / "out.parquet")
    assert list(found) == ["note", "prediction"]
    np.testing.assert_allclose(found["prediction"], values.expected(rows), rtol=1e-5)


# What pandas writes of whole numbers beside a null: 1.0
HALF: list[float | None] = [1.0] * 7 + [None] * 3
WRONG: dict[str, tuple[Change, str]] = {
    "a column lacks": (lambda r: r.drop(columns="city"), "there is no column city (columns: x, "),
    "columns lack": (lambda r: r.drop(columns=["city", "x"]), "there are no columns x, city ("),
    "another case": (lambda r: r.rename(columns={"x": "X"}), "no column x; did you mean X?"),
    "a null that nothing fills": (
        lambda r: r.assign(count=HALF),
        "row 8: feature count has 1 nulls, and needs values",
    ),
    "half of a whole number": (
        lambda r: r.assign(count=[1] * 9 + [1.5]),
        "row 10: count: 1.5 is no bigint, which",
    ),
    "no number": (lambda r: r.assign(x=["much"] * 10), 'x: "much" ('),
    "no date": (lambda r: r.assign(day="yesterday"), 'day: "yesterday" ('),
    "a value beyond float32": (lambda r: r.assign(x=1e300), "row 1: of these values the model"),
    "no rows": (lambda r: r[:0], "the input has no rows"),
    "what is to be kept lacks": (lambda r: r.drop(columns="note"), "there is no column note"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_file_of_which_nothing_can_be_made_is_told_why(
    case: str, classes: Made, tmp_path: Path
) -> None:
    change, words = WRONG[case]
    change(frame(10)).to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(StageFailure) as caught:
        predicted(classes, tmp_path / "bad.csv", tmp_path / "out.csv")
    assert words in caught.value.message
    assert not [*tmp_path.glob("*out*")]


def test_whole_numbers_beside_nulls_are_taken_as_pandas_writes_them(
    classes: Made, tmp_path: Path
) -> None:
    rows = frame(10)
    rows.assign(count=rows["count"].astype(float)).to_csv(tmp_path / "new.csv", index=False)
    found = predicted(classes, tmp_path / "new.csv", tmp_path / "out.csv")
    np.testing.assert_allclose(found["probability_a"], classes.expected(rows)[:, 0], atol=1e-5)


@pytest.mark.parametrize("name", ["prediction", "probability_b"])
def test_a_column_that_the_predictions_have_is_not_kept(
    name: str, classes: Made, tmp_path: Path
) -> None:
    frame(10).assign(**{name: 1}).to_csv(tmp_path / "new.csv", index=False)
    given = Input(uri=f"file://{tmp_path}/new.csv", format="csv")
    with pytest.raises(StageFailure) as caught:
        predict(Request(model=classes.payload(), input=given, keep=["note", name]))
    assert caught.value.reason == "SettingUnsuitable"
    assert caught.value.message == (
        f"column {name} cannot be kept: the predictions have a column of that name"
    )


@pytest.mark.parametrize(
    ("file", "reason"),
    [("model.safetensors", "ModelCorrupt"), ("trainingjob.json", "ModelMissing")],
)
def test_of_a_model_that_is_not_as_it_was_accepted_it_is_told_what_to_do_with_it(
    file: str,
    reason: ReasonName,
    classes: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And not what to do in code that trains one."""
    shutil.copytree(classes.accepted, folder := tmp_path / "accepted")
    (folder / file).unlink()
    given = Input(uri=f"file://{tmp_path}/new.csv", format="csv")
    asked = Request(model=classes.payload(model_uri=f"file://{folder}"), input=given)
    monkeypatch.setattr("sys.stdin", io.StringIO(asked.model_dump_json(by_alias=True)))
    assert module.main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"; {remedy_of_accepted(reason)}")
    assert remedy_of_accepted(reason) != REASONS[reason].remedy
    # As the server's own end is told.
    error = Report(error=StageError(reason=reason, message="why"))
    (tmp_path / "result").write_text(error.model_dump_json(by_alias=True))
    assert why(tmp_path / "result") == f"why; {remedy_of_accepted(reason)}"
