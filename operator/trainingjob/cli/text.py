"""Small pieces of text that several commands print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..api.printable import escaped

if TYPE_CHECKING:  # the models take longer to import than most commands
    from ..api.v1alpha1 import Progress, StageStatus
    from ..api.v1alpha1.reported import SplitReport, Variant
    from ..api.v1alpha1.status import JudgedMetric

# Whose shares a line of text has room for.
_CLASSES = 2


def duration(seconds: float) -> str:
    """``9s``, ``2m05s``, ``3h12m``, ``4d07h``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def time_taken(stage: StageStatus) -> str:
    """How long a stage has taken up to now; "" when it has not begun."""
    if stage.start_time is None:
        return ""
    return duration(((stage.completion_time or now()) - stage.start_time).total_seconds())


def now() -> datetime:
    """Aware, in UTC."""
    return datetime.now(UTC)


def number(value: float) -> str:
    """A metric or a loss, in four digits."""
    return f"{value:.4g}"


def score_words(metric: JudgedMetric) -> str:
    """``0.93``; over folds ``0.93 ± 0.012``, and of the final model ``test 0.92``."""
    words = number(metric.value)
    if metric.deviation is not None:
        words += f" ± {metric.deviation:.2g}"
    return words if metric.test is None else f"{words}, test {number(metric.test)}"


def baseline_words(metric: JudgedMetric, alone: Sequence[str]) -> str:
    """``last accepted 0.93``, what a gate has compared the metric with; "" when it did not.

    ``alone``: the metrics for which there was nothing to compare with.
    """
    if metric.baseline is not None:
        return f"last accepted {number(metric.baseline)}"
    return "none accepted before" if metric.name in alone else ""


def progress_words(progress: Progress) -> list[str]:
    """``fold 2``, ``epoch 3``, ``step 40/100``, ``loss 0.12``, ``ETA 9s``: what is known of it."""
    words = []
    if progress.fold is not None:
        words.append(f"fold {progress.fold}")
    if progress.epoch is not None:
        words.append(f"epoch {progress.epoch}")
    if progress.step is not None:
        total = f"/{progress.total_steps}" if progress.total_steps is not None else ""
        words.append(f"step {progress.step}{total}")
    if progress.rows is not None:
        total = f"/{progress.total_rows}" if progress.total_rows is not None else ""
        words.append(f"row {progress.rows}{total}")
    words += [f"{metric.name} {number(metric.value)}" for metric in progress.metrics[:4]]
    if progress.eta_seconds is not None:
        words.append(f"ETA {duration(progress.eta_seconds)}")
    return words


def split_words(report: SplitReport) -> str:
    """How alike the splits are, in one line: of two classes one tells, of many the largest."""
    words = []
    for one in (report.classes or ())[:_CLASSES]:
        shares = {"train": one.train, "validation": one.validation, "test": one.test}
        listed = [f"{share:.1%} of {name}" for name, share in shares.items() if share is not None]
        words.append(f"class {one.label} is {', '.join(listed)}")
    for label in report.label or ():
        words.append(f"the label in {label.split} is {label.mean:g} ± {label.deviation:g}")
    words.append(f"{report.duplicated_test_rows} rows of test are in train, too")
    return "; ".join(words)


def done_words(stage: StageStatus) -> str:
    """What a finished stage left behind, in a few words."""
    out = stage.outputs
    if out is None:
        return ""
    words = ["restored from the cache"] if stage.cached else []
    if out.rows:
        words.append(f"{sum(out.rows.values())} rows")
    if out.folds:
        words.append(f"{len(out.folds)} folds")
    if out.features is not None:
        words.append(f"{out.features} features")
    if out.search is not None:
        words.append(f"the best of {out.search.trials} trials")
    if out.epochs is not None:
        words.append(f"{out.epochs} epochs")
    if out.steps is not None:
        words.append(f"{out.steps} steps")
    if out.loss is not None:
        words.append(f"loss {number(out.loss)}")
    if out.validation_loss is not None:
        words.append(f"validation loss {number(out.validation_loss)}")
    return ", ".join(words)


def warning_lines(stage: StageStatus) -> list[str]:
    """What a finished stage warns of, a line each."""
    found = (stage.outputs.warnings if stage.outputs is not None else None) or ()
    return [warning.message for warning in found]


def dump(value: Any, form: str) -> str:
    """An object as ``json`` or ``yaml``; in ASCII if it has what would reorder a line."""
    found = _dumped(value, form, ascii_only=False)
    return found if escaped(found, keep="\n\t") == found else _dumped(value, form, ascii_only=True)


def _dumped(value: Any, form: str, *, ascii_only: bool) -> str:
    if form == "json":
        return json.dumps(value, indent=2, ensure_ascii=ascii_only) + "\n"
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=not ascii_only, width=100))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as kubectl prints them."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "".join(row(line, widths) for line in lines)


def row(cells: Sequence[str], widths: Sequence[int]) -> str:
    """A line of a table."""
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "   ".join(padded).rstrip() + "\n"


def short(path: Path) -> str:
    """A path as one would type it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def variant_words(variant: Variant) -> str:
    """``int8: 41234 bytes, 0.06 ms a row, accuracy 0.97; accepted``."""
    told = [f"{variant.bytes} bytes"]
    if variant.latency_ms is not None:
        told.append(f"{variant.latency_ms:g} ms a row")
    told += [f"{one.name} {one.value:.4g}" for one in variant.metrics or ()]
    verdict = "accepted" if variant.accepted else f"refused: {variant.message}"
    return f"{variant.name}: {', '.join(told)}; {verdict}"
