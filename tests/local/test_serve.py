"""`trainingjob serve` and `predict`."""

from __future__ import annotations

import csv
import shutil
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.unit.core.world import manifest
from tests.unit.serve.build import Made, frame, made
from trainingjob.local.store import Workspace

from .harness import cli, start
from .servers import ask

COLUMNS = ["x", "Full size", "count", "city", "day", "member"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def folder(model: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a job was run: the model is on a claim."""
    folder = tmp_path_factory.mktemp("work")
    value = manifest()
    value["metadata"] = {"name": "digits", "namespace": "default", "uid": "1"}
    value["spec"]["storage"] = {"uri": "pvc://runs"}
    home = Workspace(folder / ".trainingjob").home("default", "digits")
    home.save(value)
    home.save_run({"claims": {"runs": str(folder / "runs")}})
    shutil.copytree(model.folder / "accepted", folder / "runs/default/digits/accepted")
    return folder


def test_the_last_accepted_model_is_served_here(folder: Path, model: Made) -> None:
    process = start(folder, "serve", "digits", "--port", "0")
    assert process.stdout is not None
    line = process.stdout.readline()
    address = line.partition(" is served at ")[2].partition(": ")[0]
    assert line.endswith("32 rows of its evaluation got the outputs that were judged\n"), line
    status, told = ask(address, "/v2/models/digits")
    assert (status, told["versions"]) == (200, [model.accepted.name])
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def test_rows_of_a_file_are_predicted_in_their_order(folder: Path, model: Made) -> None:
    rows = frame(3000, seed=4)
    expected = model.expected(rows)
    rows.assign(more=1).to_csv(folder / "new.csv", index=False)
    rows.to_parquet(folder / "new.parquet")
    outcome = cli(folder, "predict", "digits", "new.csv", "--keep", "note")
    assert outcome.code == 0, outcome.stderr
    assert outcome.stderr == "not used, as the model has not seen them: y, more\n"
    found = [*csv.DictReader(outcome.stdout.splitlines())]
    assert list(found[0]) == [
        "note", "prediction", "probability_a", "probability_b", "probability_c",
    ]  # fmt: skip
    assert [row["note"] for row in found] == rows["note"].tolist()
    scores = [[float(row[f"probability_{name}"]) for name in "abc"] for row in found]
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert [row["prediction"] for row in found] == ["abc"[at] for at in expected.argmax(axis=1)]
    outcome = cli(folder, "predict", "digits", "new.parquet", "-o", "out.parquet")
    assert (outcome.code, outcome.stdout) == (0, ""), outcome.stderr
    table = pq.read_table(folder / "out.parquet").to_pandas()
    np.testing.assert_allclose(table[[f"probability_{n}" for n in "abc"]], expected, atol=1e-5)


def test_rows_of_many_files_are_predicted_in_the_order_of_their_names(
    folder: Path, model: Made
) -> None:
    rows = frame(3000, seed=5)
    (folder / "parts").mkdir()
    for place in range(3):
        part = rows[place * 1000 : (place + 1) * 1000]
        part.to_csv(folder / f"parts/{place}.csv", index=False)
    wanted = ["abc"[at] for at in model.expected(rows).argmax(axis=1)]
    for given in ("parts", "parts/*.csv", f"file://{folder}/parts"):
        outcome = cli(folder, "predict", "digits", given, "-o", "many.csv")
        assert outcome.code == 0, outcome.stderr
        with (folder / "many.csv").open() as file:
            assert [row["prediction"] for row in csv.DictReader(file)] == wanted, given
    for given, code, words in (
        ("nothing/new.csv", 2, "nothing/new.csv: no such file or folder"),
        ("nothing/*.csv", 1, "there is no file at"),
        ("ftp://there/new.csv", 2, "ftp://there/new.csv: must be pvc://CLAIM/path, "),
    ):
        outcome = cli(folder, "predict", "digits", given)
        assert (outcome.code, words in outcome.stderr) == (code, True), outcome.stderr
    for given, words in (
        (("a.csv", "b.csv", "c.csv"), "3 files are given, and one FILE is taken: put a pattern"),
        (("parts", "-o", "many.xlsx"), "many.xlsx: the name must end in .csv or .parquet"),
    ):
        outcome = cli(folder, "predict", "digits", *given)
        assert (outcome.code, words in outcome.stderr) == (2, True), outcome.stderr


def test_a_file_of_which_nothing_can_be_made_is_told_why(folder: Path) -> None:
    """tests/unit/serve has the other reasons."""
    frame(10).drop(columns="city").to_csv(folder / "bad.csv", index=False)
    outcome = cli(folder, "predict", "digits", "bad.csv", "-o", "bad-out.csv")
    assert outcome.code == 1
    (line,) = outcome.stderr.splitlines()
    assert line.startswith(f"error: file://{folder}/bad.csv: there is no column city (columns: x, ")
    assert not [*folder.glob("*bad-out*")]
