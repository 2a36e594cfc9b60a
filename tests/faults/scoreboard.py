"""What came of all runs, as tables of docs/reliability.md."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from . import faults
from .cases import kind_of
from .runs import Result

PAGE = Path(__file__).parents[2] / "docs/reliability.md"
_MARKS = ("<!-- the scoreboard: `make faults` writes it -->", "<!-- its end -->")


def lines(results: Sequence[Result], seconds: float, what: str = "All") -> list[str]:
    """The tables, in Markdown; ``what`` was tried."""
    results = [result for result in results if result.case.fault]
    held = sum(not result.wrong for result in results)
    absent = [result for result in results if not result.reached]
    found = [
        f"{what}: {held} of {len(results)} cases hold, in {seconds / 60:.0f} minutes; in "
        f"{len(absent)} of them the write or event that the undisturbed run has did not come.",
        "",
        "| fault | what happens | cases | hold | recovery, median | longest |",
        "|---|---|---|---|---|---|",
    ]
    for fault in faults.ALL:
        ours = [result for result in results if result.case.fault is fault]
        if ours:
            found.append(f"| {fault.name} | {fault.words} | {_row(ours)} |")
    found += ["", "| of a kind of write or event | cases | hold | recovery, median | longest |"]
    found.append("|---|---|---|---|---|")
    kinds = sorted({kind_of(result.case.point) for result in results if result.case.point})
    for kind in kinds:
        ours = [r for r in results if r.case.point and kind_of(r.case.point) == kind]
        found.append(f"| {kind} | {_row(ours)} |")
    return found


def manifests(verdicts: Mapping[str, int], stuck: Sequence[str]) -> list[str]:
    """What became of those made by chance."""
    words = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    return [
        "",
        f"Of {sum(verdicts.values()) + len(stuck)} manifests made by chance: {words}; "
        f"{len(stuck)} stuck or without a word.",
    ]


def write(told: Sequence[str]) -> None:
    """Into the page."""
    text = PAGE.read_text(encoding="utf-8")
    begin, end = _MARKS
    table = "\n".join([begin, "", *told, "", end])
    pattern = re.escape(begin) + ".*?" + re.escape(end)
    PAGE.write_text(re.sub(pattern, lambda _: table, text, flags=re.DOTALL), encoding="utf-8")


def _row(results: Sequence[Result]) -> str:
    took = [result.longer for result in results if result.reached]
    held = sum(not result.wrong for result in results)
    if not took:
        return f"{len(results)} | {held} | | "
    return f"{len(results)} | {held} | {median(took):.1f} s | {max(took):.1f} s"
