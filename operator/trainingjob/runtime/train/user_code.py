"""The user's own training code: what it is started with, and what it must leave."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from trainingjob.api.payload import RESUME_FROM, StageResult, TrainPayload
from trainingjob.api.uris import is_remote
from trainingjob.api.v1alpha1.reported import Outputs, StageWarning

from ..base.digest import digest_of_folder
from ..base.errors import StageFailure, storage_errors
from ..base.log import log
from ..base.outcome import with_findings
from ..base.text import cut
from ..gang import own_code
from ..gang.node import Node
from ..gang.processes import Command
from ..model import folder as model_folder
from ..model.check import check_model
from ..storage import resolve, store
from ..storage.ownership import claim, is_ours
from . import word
from .left_behind import LeftBehind

# Beside the checkpoints: node 0 has made room for what the code writes.
_READY = ".ready"


def prepare(
    payload: TrainPayload, node: Node, folder: Path, interpreter: Path
) -> tuple[str, Sequence[Command]]:
    """The code's name for messages, and the commands to start; ``folder`` becomes its own.

    Raises StageFailure: ScriptMissing, ScriptInvalid, CommandNotFound, StorageUnavailable.
    """
    cwd = own_code.write(payload, payload.stage, folder)
    node = own_code.seeing(node, cwd, folder)
    output, checkpoints = resolve(payload.model_uri), resolve(payload.checkpoints)
    _make_room(payload, node.index, output, checkpoints)
    if resume_from := _newest(checkpoints, payload.job.uid):
        node = node.seeing({RESUME_FROM: str(resume_from)})
    return own_code.commands(payload, payload.stage, node, cwd, interpreter)


def _make_room(payload: TrainPayload, node: int, output: Path, checkpoints: Path) -> None:
    """An empty output folder for the code of each node. Only one node may change what all nodes
    share, and before the others' code can write there."""
    shared = not is_remote(payload.model_uri)
    ready = f"{payload.checkpoints}/{_READY}"
    if node == 0 or not shared:
        with storage_errors("prepare the output folder"):
            shutil.rmtree(output, ignore_errors=True)
            output.mkdir(parents=True, exist_ok=True)
    if node == 0:
        with storage_errors("prepare the folder of checkpoints"):
            claim(checkpoints, payload.job.uid)
        if shared and payload.nodes > 1:
            word.tell(ready, word.Word(uid=payload.job.uid, attempt=payload.attempt))
    elif shared:
        word.wait(ready, word.Word, payload)


def begins_anew(payload: TrainPayload) -> bool:
    """Whether there is no checkpoint from which the code could go on."""
    return _newest(resolve(payload.checkpoints), payload.job.uid) is None


def result(
    payload: TrainPayload, left_behind: LeftBehind, add: Callable[[Path], bool]
) -> StageResult:
    """Of code that ended well. ``add`` puts what else belongs into the output folder
    there, if there is anything.

    Raises ModelMissing when it left nothing in the output folder, or nothing that the evaluation
    that follows can judge; ModelCorrupt, PredictionsInvalid.
    """
    output = resolve(payload.model_uri)
    found = model_folder.files(output)
    if not found:
        elsewhere = left_behind.report() or "nor did it write anything elsewhere"
        raise StageFailure("ModelMissing", f"{model_folder.nothing_left(output)}; {elsewhere}")
    store(output)
    if payload.needs_model:
        check_model(output, texts=payload.task.type == "languageModel")
    with storage_errors("write the model"):
        if add(output):
            store(output)
    warnings = []
    if not any(file.is_model for file in found) and left_behind.has_models():
        # Perhaps what is there is meant to be all, perhaps the model was saved elsewhere.
        words = f"{model_folder.in_words(found)} is all that the training code left as its model"
        words += f"; {left_behind.report()}"
        log(f"warning: {words}")
        warnings.append(StageWarning(reason="ModelElsewhere", message=cut(words, 512)))
    elif records := left_behind.keep_records():
        log(f"logs: {records}")
    if out := model_folder.links_out(output):
        log(f"warning: what lies elsewhere does not go with the model{out}")
    with storage_errors("read the model"):
        digest = digest_of_folder(output)
    result = StageResult(outputs=Outputs(uri=payload.model_uri, digest=digest))
    return with_findings(result, warnings, [])


def _newest(checkpoints: Path, uid: str) -> Path | None:
    """The entry that was written last, the higher number of equal ones; None without any."""
    if not checkpoints.is_dir() or not is_ours(checkpoints, uid):
        return None
    entries = [entry for entry in os.scandir(checkpoints) if not entry.name.startswith(".")]
    if not entries:
        return None
    newest = max(entries, key=lambda entry: (entry.stat().st_mtime_ns, _natural(entry.name)))
    return Path(newest.path)


def _natural(name: str) -> list[tuple[int, str]]:
    """So that step-100 comes after step-20."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]
