"""`trainingjob get`: the jobs of a work folder."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from ..local.store import Home, Workspace
from .errors import UsageError
from .exits import Exit
from .text import dump, duration, now, number, row, table

_HEADER = ["NAMESPACE", "NAME", "PHASE", "STAGE", "PROGRESS", "SCORE", "AGE"]
# Lines that come one by one cannot know those that follow: room for names as people give them.
_WIDTHS = [12, 20, 13, 10, 8, 16, 5]
_LOOK_SECONDS = 0.5


def get(args: argparse.Namespace) -> int:
    """A table, or objects."""
    loaded = [(home, job) for home in _homes(args) if (job := home.load()) is not None]
    if args.watch and loaded:
        _watch(args)
    elif args.output:
        value: Any = loaded[0][1] if args.name is not None else _list([job for _, job in loaded])
        sys.stdout.write(dump(value, args.output))
    elif not loaded:
        sys.stderr.write(f"no jobs in {args.work_dir}\n")
    else:
        several = len({home.namespace for home, _ in loaded}) > 1
        rows = [_row(home, job) for home, job in loaded]
        if not several:
            rows = [cells[1:] for cells in rows]
        sys.stdout.write(table(_HEADER if several else _HEADER[1:], rows))
    return Exit.SUCCEEDED


def _homes(args: argparse.Namespace) -> list[Home]:
    workspace = Workspace(Path(args.work_dir))
    if args.name is not None:
        return [find(workspace, args.name, args.namespace)]
    return [h for h in workspace.homes() if args.namespace in (None, h.namespace)]


def _watch(args: argparse.Namespace) -> None:
    """A line for each job, and one at each change of it, until nobody works on any of them."""
    seen: dict[Path, list[str]] = {}
    sys.stdout.write(row(_HEADER, _WIDTHS))
    running = True
    while running:
        # In this order: what changed before the last one ended is told.
        homes = _homes(args)
        running = any(home.busy for home in homes)
        for home in homes:
            job = home.load()
            if job is None:
                continue
            cells = _row(home, job)
            if seen.get(home.path) != cells[:-1]:  # all but the age
                seen[home.path] = cells[:-1]
                sys.stdout.write(row(cells, _WIDTHS))
                sys.stdout.flush()
        time.sleep(_LOOK_SECONDS if running else 0)


def find(workspace: Workspace, name: str, namespace: str | None) -> Home:
    """The job of that name. Raises UsageError when there is none, or more than one."""
    found = [
        home
        for home in workspace.homes()
        if home.name == name and namespace in (None, home.namespace)
    ]
    if not found:
        raise UsageError(
            f"no job {name} in {workspace.root}; `trainingjob get` lists those that there are"
        )
    if len(found) > 1:
        spaces = ", ".join(home.namespace for home in found)
        raise UsageError(f"job {name} is in several namespaces ({spaces}): add --namespace")
    return found[0]


def _list(jobs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": jobs}


def _row(home: Home, job: dict[str, Any]) -> list[str]:
    status = job.get("status") or {}
    phase = status.get("phase", "Pending")
    if phase not in ("Succeeded", "Failed") and not home.busy:
        phase = "Interrupted"  # nobody works on it
    stages = status.get("stages") or []
    stage = next((s["name"] for s in stages if s.get("phase") != "Succeeded"), "")
    percent = (status.get("progress") or {}).get("percent")
    created = datetime.fromisoformat(job["metadata"]["creationTimestamp"])
    metrics = (status.get("evaluation") or {}).get("metrics") or []
    return [
        home.namespace,
        home.name,
        phase,
        stage,
        "" if percent is None else f"{percent}%",
        f"{metrics[0]['name']}={number(metrics[0]['value'])}" if metrics else "",
        duration((now() - created).total_seconds()),
    ]
