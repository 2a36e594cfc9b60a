"""The main process of a training pod: starts the node's ranks and tells what came of them.

It imports no torch, so that the ranks start at once and the memory is theirs.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from trainingjob.api.payload import StageResult, TrainPayload

from ..base.errors import of_fold, storage_errors
from ..base.log import log
from ..dataset import manifest
from ..dataset.manifest import ROWS
from ..gang import own_code, ranks
from ..gang.node import Node
from ..storage import fetch, resolve
from ..storage.ownership import claim
from . import beforehand, restored, user_code
from .left_behind import LeftBehind
from .parts import Part, gather, parts_of

# -P: nothing in the working folder may shadow a library.
_MODULE = [sys.executable, "-P", "-m"]
WORKER = [*_MODULE, "trainingjob.runtime.train.worker"]
BOOSTING = [*_MODULE, "trainingjob.runtime.train.boosting"]


def run(payload: TrainPayload) -> StageResult | None:
    """Train on this node. Node 0 returns the result, the others None.

    Raises StageFailure with the failure that came first, of this node's ranks.
    """
    node = Node.from_env(payload.nodes, payload.procs_per_node, os.environ)
    # Once a node, and not by each of its ranks.
    # Own code wants files; the built-in training reads the rows from where they lie, and so does
    # code that says so.
    if payload.model is None and not payload.stream_dataset:
        manifest.fetch(payload.dataset)
    else:
        fetch(payload.dataset, but=ROWS)
    fetch(payload.checkpoints)
    if payload.model is not None and payload.model.pretrained is not None:
        fetch(payload.model.pretrained.uri)
    beforehand.check(payload)
    if payload.cache is None:
        return _train(payload, node)
    return restored.through(payload, payload.cache, node.index, lambda: _train(payload, node))


def _train(payload: TrainPayload, node: Node) -> StageResult | None:
    with tempfile.TemporaryDirectory(prefix="trainingjob-") as folder:
        if payload.model is not None:
            worker = BOOSTING if payload.model.gradient_boosting is not None else WORKER
            return ranks.run(node, worker, Path(folder))
        return _run_user_code(payload, node, Path(folder))


def _run_user_code(payload: TrainPayload, node: Node, folder: Path) -> StageResult | None:
    """Once, or for each fold and then for the final model, all nodes for the same one."""
    parts, result = parts_of(payload), None
    python = own_code.python(payload, node.index, folder)
    node = node.seeing(python.variables)
    if len(parts) > 1 and node.index == 0:
        with storage_errors("read the checkpoints"):
            claim(resolve(payload.checkpoints), payload.job.uid)
    # What node 0 tells in this attempt says nothing to the others, who have a part in it.
    done = [part.is_done(before=node.index > 0) for part in parts]
    for part, is_done in zip(parts, done, strict=True):
        if is_done:
            log(f"{part.words}was trained before")
            continue
        with of_fold(part.fold):
            if part.words:
                log(f"{part.words}begins")
            own = folder / part.folder
            own.mkdir()
            result = _run_part(part, parts, node.seeing(part.variables), own, python.python)
            if node.index == 0:
                part.tell_done()
            else:
                part.wait()
    return result


def _run_part(
    part: Part, parts: Sequence[Part], node: Node, folder: Path, python: Path
) -> StageResult | None:
    payload = part.payload
    name, commands = user_code.prepare(payload, node, folder, python)
    code = own_code.text(payload, folder)
    # Only one node looks after the model.
    cwd = Path.cwd() if commands[0].cwd is None else folder
    left_behind = LeftBehind(payload, cwd, os.environ.get("HOME")) if node.index == 0 else None
    own_code.run(name, commands, alone=node.alone, code=code, folder=folder)
    if left_behind is None:
        return None
    of_folds = () if part.fold else parts
    return user_code.result(payload, left_behind, lambda output: gather(of_folds, output))
