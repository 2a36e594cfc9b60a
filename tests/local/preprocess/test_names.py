"""Columns and files may have any name, in every step and on both engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .both import same

STEPS: list[dict[str, Any]] = [
    {"filter": {"where": "`first name` is not null and `größe (cm)` > 0"}},
    {"withColumn": {"name": "new one", "expr": "`größe (cm)` * 2 + `a.b`"}},
    {"rename": {"columns": {"it's": "it is"}}},
    {"fillna": {"columns": ["it is", "`q`"], "strategy": "mean"}},
    {"encodeLabels": {"columns": ["first name"]}},
    {"oneHot": {"columns": ["日本"]}},
    {"scale": {"method": "standard", "columns": ["100%", 'say "x"', "new one"]}},
    {"cast": {"columns": {"a.b": "double"}}},
]
HEAD = 'first name,größe (cm),a.b,it\'s,`q`,"say ""x""",日本,100%,the group'


def test_columns_may_have_blanks_signs_and_other_letters(spark: Any, tmp_path: Path) -> None:
    source = tmp_path / "my data (1).csv"
    lines = [
        f"n{i % 3},{i + 1},{i},{'' if i % 5 == 0 else i},{i % 7},{i * 2},{'ab'[i % 2]},{i % 4},{i % 2}"
        for i in range(40)
    ]
    source.write_text("\n".join([HEAD, *lines]) + "\n", "utf-8")
    task = {
        "type": "classification",
        "label": "the group",
        "features": ["first name", "a.b", "it is", "日本_a"],
    }
    manifest, _ = same(source, tmp_path, STEPS, task=task)
    assert manifest.features == task["features"]
