"""How alike the splits are: shares of classes, and rows that are in two of them."""

from __future__ import annotations

from collections.abc import Iterator

from trainingjob.api.v1alpha1.reported import ClassShare, LabelMoments, SplitReport
from trainingjob.api.v1alpha1.split import Split

from .checks import Summary
from .engines.frame import SPLIT, SPLIT_NUMBER, Engine, Frame
from .names import printable
from .notes import Notes

_TEST_AND_TRAIN = [f"{SPLIT} = {SPLIT_NUMBER[name]}" for name in ("test", "train")]
# From which part of the test rows on it is told that they are in training as well.
_SHARED = 0.05
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


def warn_of_shared(spec: Split, report: SplitReport, rows: int, notes: Notes) -> None:
    """Where the data says which rows are for the test, of which there are so many ``rows``, and it
    trains on them."""
    shared = report.duplicated_test_rows
    if spec.given and shared >= max(1, _SHARED * rows):
        field = "files" if spec.files is not None else "column"
        notes.warn(
            "RowsShared",
            f"preprocess.split.{field}: {shared} of {rows} rows of test are in train, too, and the "
            "model is judged on what it has learned; if they are the same ones, leave them out of "
            "one of both",
        )


def lines(report: SplitReport) -> Iterator[str]:
    """The report for the log."""
    for one in report.classes or ():
        shares = ((name, getattr(one, name)) for name in ("train", "validation", "test"))
        listed = ", ".join(f"{share:.2%} of {name}" for name, share in shares if share is not None)
        yield f"splits: class {one.label} is {listed}"
    for label in report.label or ():
        yield f"splits: the label in {label.split} is {label.mean:g} ± {label.deviation:g}"
    yield f"splits: {report.duplicated_test_rows} rows of test are in train, too"
