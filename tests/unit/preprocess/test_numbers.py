"""Steps for numbers against pandas and scikit-learn, which are fitted on the training rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import KBinsDiscretizer, QuantileTransformer

from .features import Step, frame, prepared

Oracle = Callable[[pd.Series, pd.Series], Any]


def clipped(low: float | None, high: float | None) -> Oracle:
    return lambda train, values: values.clip(
        None if low is None else train.quantile(low), None if high is None else train.quantile(high)
    )


def binned(strategy: str, bins: int) -> Oracle:
    def oracle(train: pd.Series, values: pd.Series) -> Any:
        with np.errstate(all="ignore"):
            fitted = KBinsDiscretizer(
                bins, encode="ordinal", strategy=strategy, subsample=None
            ).fit(train.dropna().to_frame().astype(float))
        known = values.dropna()
        found = fitted.transform(known.to_frame().astype(float))[:, 0]
        return pd.Series(found, index=known.index).reindex(values.index)

    return oracle


def ranked(quantiles: int) -> Oracle:
    def oracle(train: pd.Series, values: pd.Series) -> Any:
        known = train.dropna().to_frame().astype(float)
        fitted = QuantileTransformer(n_quantiles=min(quantiles, len(known)), subsample=None).fit(
            known
        )
        return fitted.transform(values.to_frame().astype(float))[:, 0]

    return oracle


# The step, the column, and what it becomes by (its training values, its values).
STEPS: dict[str, tuple[Step, str, Oracle]] = {
    "clip at quantiles": (
        {"clip": {"columns": ["x"], "minQuantile": 0.05, "maxQuantile": 0.9}},
        "x",
        clipped(0.05, 0.9),
    ),
    "clip whole numbers at a quantile": (
        {"clip": {"columns": ["n"], "maxQuantile": 0.77}},
        "n",
        clipped(None, 0.77),
    ),
    "clip at bounds": (
        {"clip": {"columns": ["n"], "min": 0, "max": 5}},
        "n",
        lambda train, values: values.clip(0, 5),
    ),
    "clip at bounds with a fraction": (
        {"clip": {"columns": ["n"], "min": 0.5}},
        "n",
        lambda train, values: values.astype("Float64").clip(0.5),
    ),
    "clip all": ({"clip": {"min": 0}}, "full", lambda train, values: values.clip(0)),
    "log1p": ({"log1p": {"columns": ["x"]}}, "x", lambda train, values: np.log1p(values)),
    "quantile": ({"quantile": {"columns": ["x"], "quantiles": 20}}, "x", ranked(20)),
    "quantile of equal values": ({"quantile": {"columns": ["n"]}}, "n", ranked(100)),
    "quantile of all, of as many as there are values": (
        {"quantile": {"quantiles": 1000}},
        "full",
        ranked(1000),
    ),
    "quantile of a constant": ({"quantile": {"columns": ["constant"]}}, "constant", ranked(100)),
    "bins of equal size": ({"bin": {"columns": ["x"]}}, "x", binned("quantile", 5)),
    "bins of equal values": ({"bin": {"columns": ["n"], "bins": 12}}, "n", binned("quantile", 12)),
    "bins of equal width": (
        {"bin": {"columns": ["full"], "method": "uniform", "bins": 7}},
        "full",
        binned("uniform", 7),
    ),
    "bins of a constant": (
        {"bin": {"columns": ["constant"], "method": "uniform"}},
        "constant",
        lambda train, values: values * 0,
    ),
    "bins by borders": (
        {"bin": {"columns": ["n"], "borders": [0, 2.5, 5]}},
        "n",
        lambda train, values: pd.cut(
            values.astype(float), [-np.inf, 0, 2.5, 5, np.inf], right=False
        ).cat.codes.replace(-1, np.nan),
    ),
}


@pytest.mark.filterwarnings("ignore:Bins whose width")
@pytest.mark.parametrize("name", STEPS)
def test_a_step_for_numbers(name: str, tmp_path: Path) -> None:
    step, column, oracle = STEPS[name]
    data = frame()
    _, parts = prepared(data, [step], tmp_path)
    known = data.set_index("id")[column]
    train = known[parts["train"]["id"]]
    for part in parts.values():
        found = pd.array(oracle(train, known[part["id"]])).astype("Float64")
        wanted = found.to_numpy(float, na_value=np.nan)
        np.testing.assert_allclose(part[column].to_numpy(float), wanted, rtol=1e-9, atol=1e-12)


def test_without_a_numeric_column_nothing_is_done(tmp_path: Path) -> None:
    data = frame()[["id", "city", "y"]]
    steps: list[Step] = [
        {"clip": {"minQuantile": 0.1}},
        {"quantile": {}},
        {"bin": {}},
        {"bin": {"method": "uniform"}},
    ]
    manifest, _ = prepared(data, steps, tmp_path)
    assert [list(entry["fitted"].values()) for entry in manifest.pipeline] == [[{}]] * 4
