"""How alike the splits are: shares of classes, and rows that are in two of them."""

from __future__ import annotations

from collections.abc import Iterator

from trainingjob.api.v1alpha1.status import ClassShare, LabelMoments, SplitReport

from .checks import Summary
from .engines.frame import SPLIT, SPLIT_NUMBER, Engine, Frame
from .names import printable

_TEST_AND_TRAIN = [f"{SPLIT} = {SPLIT_NUMBER[name]}" for name in ("test", "train")]
# As the CRD has them.
_MOST_CLASSES = 8
_LABEL_CHARS = 32


def likeness(engine: Engine, frame: Frame, summary: Summary) -> SplitReport:
    """The report about the dataset as it is written."""
    return SplitReport(
        duplicated_test_rows=engine.shared(frame, *_TEST_AND_TRAIN) if summary.rows["test"] else 0,
        classes=_classes(summary),
        label=[
            LabelMoments(split=name, mean=_short(mean), deviation=_short(deviation))
            for name, (mean, deviation) in sorted(summary.moments.items())
        ]
        or None,
    )


def _classes(summary: Summary) -> list[ClassShare] | None:
    if summary.counts is None:
        return None
    largest = sorted(summary.counts.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    return [
        ClassShare(
            label=printable(str(value))[:_LABEL_CHARS],
            **{
                name: round(counts.get(name, 0) / rows, 4)
                for name, rows in summary.rows.items()
                if rows
            },
        )
        for value, counts in largest[:_MOST_CLASSES]
    ]


def _short(value: float) -> float:
    """Six digits: the last ones differ between engines."""
    return float(f"{value:.6g}")


def lines(report: SplitReport) -> Iterator[str]:
    """The report for the log."""
    for one in report.classes or ():
        shares = ((name, getattr(one, name)) for name in ("train", "validation", "test"))
        listed = ", ".join(f"{share:.2%} of {name}" for name, share in shares if share is not None)
        yield f"splits: class {one.label} is {listed}"
    for label in report.label or ():
        yield f"splits: the label in {label.split} is {label.mean:g} ± {label.deviation:g}"
    yield f"splits: {report.duplicated_test_rows} rows of test are in train, too"
