"""metrics.json of own code: numbers by name, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.evaluate.own_code import check_size, metrics_of


def test_numbers_by_name_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(
        '{"b": 1, "val/mAP@0.5:0.95": -2.5e-3, "a": 0.123456789012}'
    )
    found = {"b": 1.0, "val/mAP@0.5:0.95": -0.0025, "a": 0.123456789}
    assert [*metrics_of(tmp_path, "judge.py").items()] == [*found.items()]


# what the code writes -> words of the message
FAULTS = {
    "nothing": ("pass", "judge.py ended well and left no metrics.json in its output folder"),
    "another file": ("(out / 'a.json').write_text('{}')", "it has a.json (2 B)"),
    "a link": ("(out / 'metrics.json').symlink_to('/etc/hostname')", "left no metrics.json"),
    "no JSON": ("(out / 'metrics.json').write_text('dice: 1')", "not JSON: Expecting value (line"),
    "a list": ("(out / 'metrics.json').write_text('[1]')", "is a list, and no object of numbers"),
    "deep": ("(out / 'metrics.json').write_text('[' * 60000)", "metrics.json is not JSON"),
    "an empty one": ("tell()", "has no metric"),
    "NaN": ("tell(dice=float('nan'))", "dice of metrics.json is nan: leave out what has no value"),
    "an infinite one": ("(out / 'metrics.json').write_text('{\"a\": 1e999}')", "a of metrics.json"),
    "a huge one": ("tell(a=10**400)", "a of metrics.json is inf"),
    "a nested one": ("tell(test={'dice': 1})", "of their own, such as test/dice"),
    "text": ("tell(dice='0.9')", "dice of metrics.json is text, and no number"),
    "true": ("tell(dice=True)", "dice of metrics.json is true or false, and no number"),
    "null": ("tell(dice=None)", "dice of metrics.json is null, and no number"),
    "a name with a blank": ("tell(**{'my dice': 1})", 'a metric called "my dice": a name is'),
    "a long name": ("tell(**{'a' * 41: 1})", "a name is at most 40 of letters"),
    "one twice": ("(out / 'metrics.json').write_text('{\"a\": 1, \"a\": 2}')", "a is there twice"),
    "too many": ("tell(**{f'm{i}': i for i in range(65)})", "has 65 names, of which 64 are"),
    "too much": ("(out / 'metrics.json').write_text(' ' * 70000)", "has 70 kB, of which"),
    "more files than are kept": (
        "tell(dice=1); [(out / str(i)).write_text('x') for i in range(1000)]",
        "has left 1001 files",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_no_metric_is_told(tmp_path: Path, name: str) -> None:
    source, words = FAULTS[name]

    def tell(**metrics: object) -> None:
        (tmp_path / "metrics.json").write_text(json.dumps(metrics))

    exec(source, {"out": tmp_path, "tell": tell})
    with pytest.raises(StageFailure) as caught:
        metrics_of(tmp_path, "judge.py")
        check_size(tmp_path)
    assert caught.value.reason == "MetricsInvalid"
    assert words in caught.value.message
