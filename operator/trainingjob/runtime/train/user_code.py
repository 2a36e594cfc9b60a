"""The user's own training code: what it is started with, and what it must leave."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from trainingjob.api.payload import RESUME_FROM, ScriptRef, StageResult, TrainPayload
from trainingjob.api.v1alpha1.status import Outputs, StageWarning

from ..base.digest import digest_of_folder
from ..base.errors import StageFailure, storage_errors
from ..base.log import log
from ..base.outcome import with_findings
from ..base.text import cut
from ..gang.node import Node
from ..gang.processes import Command
from ..model import folder as model_folder
from ..model.check import check_model
from ..storage import resolve, store
from ..storage.ownership import claim, is_ours
from .left_behind import SCRIPT, LeftBehind


def prepare(payload: TrainPayload, node: Node, folder: Path) -> tuple[str, Sequence[Command]]:
    """The code's name for messages, and the commands to start; ``folder`` becomes its own.

    Raises StageFailure: ScriptMissing, ScriptInvalid, CommandNotFound, StorageUnavailable.
    """
    script = None if payload.script is None else _save(payload.script, folder)
    output, checkpoints = resolve(payload.model_uri), resolve(payload.checkpoints)
    # Only one node may change what all nodes share.
    if node.index == 0:
        with storage_errors("prepare the output folder"):
            shutil.rmtree(output, ignore_errors=True)
            output.mkdir(parents=True, exist_ok=True)
            claim(checkpoints, payload.job.uid)
    if resume_from := _newest(checkpoints, payload.job.uid):
        node = node.seeing({RESUME_FROM: str(resume_from)})
    cwd = None if script is None else script.parent
    arguments = payload.args or []
    if payload.command is None:
        return SCRIPT, node.per_rank([sys.executable, SCRIPT, *arguments], cwd)
    name = payload.command[0]
    if shutil.which(cwd / name if cwd and "/" in name else name, path=node.env["PATH"]) is None:
        raise StageFailure("CommandNotFound", f"there is no program {name} in the image")
    return name, [Command([*payload.command, *arguments], node.env, cwd)]


def text(payload: TrainPayload, folder: Path) -> str:
    """The code as far as it is known: the command, and the script that ``folder`` has."""
    script = folder / SCRIPT
    source = script.read_text(encoding="utf-8", errors="replace") if script.exists() else ""
    return "\n".join([" ".join([*(payload.command or ()), *(payload.args or ())]), source])


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
    with storage_errors("read the model"):
        digest = digest_of_folder(output)
    result = StageResult(outputs=Outputs(uri=payload.model_uri, digest=digest))
    return with_findings(result, warnings, [])


def _save(script: ScriptRef, folder: Path) -> Path:
    """The script as ``train.py``, once it is known to compile."""
    source = (script.inline or "").encode()
    if script.path is not None:
        try:
            source = Path(script.path).read_bytes()
        except OSError as error:
            raise StageFailure(
                "ScriptMissing", f"cannot read the script: {error.strerror} ({script.path})"
            ) from error
    try:
        compile(source, SCRIPT, "exec", dont_inherit=True)
    except SyntaxError as error:
        where = f" in line {error.lineno}" if error.lineno else ""
        raise StageFailure(
            "ScriptInvalid", f"the script is not Python: {error.msg}{where}"
        ) from error
    except ValueError as error:
        raise StageFailure("ScriptInvalid", f"the script is not Python: {error}") from error
    path = folder / SCRIPT
    path.write_bytes(source)
    return path


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
