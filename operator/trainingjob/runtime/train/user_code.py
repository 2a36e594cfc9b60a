"""The user's own training code: what it is started with, and what it must leave."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from trainingjob.api.expansion import expand
from trainingjob.api.payload import CODE_DIR, RESUME_FROM, ScriptRef, StageResult, TrainPayload
from trainingjob.api.uris import is_remote
from trainingjob.api.v1alpha1.status import Outputs, StageWarning

from ..base.digest import digest_of_folder
from ..base.errors import StageFailure, storage_errors
from ..base.log import log
from ..base.outcome import with_findings
from ..base.text import cut, listed
from ..gang import requirements
from ..gang.node import Node
from ..gang.packages import Environment, environment
from ..gang.processes import Command
from ..model import folder as model_folder
from ..model.check import check_model
from ..storage import code, resolve, store
from ..storage.ownership import claim, is_ours
from . import word
from .left_behind import SCRIPT, LeftBehind

# Beside the checkpoints: node 0 has made room for what the code writes.
_READY = ".ready"


def python(payload: TrainPayload, node: Node, folder: Path) -> Environment:
    """What runs the code, with the packages that it asks for. Raises what ``environment`` raises,
    and StageFailure: ScriptMissing, ScriptInvalid."""
    given = payload.requirements
    if given is None:
        return Environment(Path(sys.executable), {})
    place = folder / "packages"
    place.mkdir()
    if given.packages is not None or payload.code is None:
        asked = requirements.of_packages(given.packages or [], place)
    else:
        source = place / "code"
        source.mkdir()
        code.bring(payload.code, source)
        file = source / (payload.working_dir or "") / (given.file or "")
        asked = requirements.of_file(file, source)
    return environment(asked, given.wheels, place, node.index)


def prepare(
    payload: TrainPayload, node: Node, folder: Path, interpreter: Path
) -> tuple[str, Sequence[Command]]:
    """The code's name for messages, and the commands to start; ``folder`` becomes its own.

    Raises StageFailure: ScriptMissing, ScriptInvalid, CommandNotFound, StorageUnavailable.
    """
    cwd = _write(payload, folder)
    if cwd is not None:
        node = node.seeing({CODE_DIR: str(folder)})
    output, checkpoints = resolve(payload.model_uri), resolve(payload.checkpoints)
    _make_room(payload, node.index, output, checkpoints)
    if resume_from := _newest(checkpoints, payload.job.uid):
        node = node.seeing({RESUME_FROM: str(resume_from)})
    arguments = payload.args or []
    if payload.command is None:
        main = payload.main or SCRIPT
        return main, _expanded(node.per_rank([str(interpreter), main, *arguments], cwd))
    (command,) = _expanded([Command([*payload.command, *arguments], node.env, cwd)])
    name = command.arguments[0]
    if shutil.which(cwd / name if cwd and "/" in name else name, path=node.env["PATH"]) is None:
        raise StageFailure("CommandNotFound", f"there is no program {name} in the image")
    return name, [command]


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


def text(payload: TrainPayload, folder: Path) -> str:
    """The code as far as it is known: the command, and the script that ``folder`` has."""
    words = [*(payload.command or ()), *(payload.args or ())]
    files = [path for path in folder.rglob("*") if path.suffix == ".py" or path.name in words]
    sources = (path.read_text(encoding="utf-8", errors="replace") for path in sorted(files)[:1000])
    return "\n".join([" ".join(words), *sources])


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
    with storage_errors("read the model"):
        digest = digest_of_folder(output)
    result = StageResult(outputs=Outputs(uri=payload.model_uri, digest=digest))
    return with_findings(result, warnings, [])


def _write(payload: TrainPayload, folder: Path) -> Path | None:
    """The code into ``folder``; where it runs, None when there is nothing but a command."""
    if payload.script is not None:
        path = folder / SCRIPT
        path.write_bytes(_source(payload.script))
        _compile(path, "the script")
        return folder
    if payload.code is None:
        return None
    total = code.bring(payload.code, folder)
    where = payload.code.uri or ("the ConfigMap" if payload.code.path else "the manifest")
    size = model_folder.size_in_words(total.size)
    log(f"code: {total.files} files ({size}) of {where}, {digest_of_folder(folder)}")
    cwd = folder / (payload.working_dir or "")
    if not cwd.is_dir():
        raise StageFailure(
            "ScriptMissing",
            f"the code has no folder {payload.working_dir} (train.code.workingDir); it has "
            f"{listed([entry.name for entry in sorted(folder.iterdir())])}",
        )
    if payload.command is None:
        main = payload.main or SCRIPT
        if not (cwd / main).is_file():
            found = [path.relative_to(cwd).as_posix() for path in sorted(cwd.rglob("*.py"))]
            there = f"it has {listed(found)}" if found else "it has no file of Python"
            message = f"the code has no file {main}: set train.code.main; {there}"
            raise StageFailure("ScriptMissing", message)
        _compile(cwd / main, main)
    return cwd


def _expanded(commands: Sequence[Command]) -> list[Command]:
    """With ``$(NAME)`` as in a pod's own command."""
    return [replace(one, arguments=[expand(w, one.env) for w in one.arguments]) for one in commands]


def _source(script: ScriptRef) -> bytes:
    if script.path is None:
        return (script.inline or "").encode()
    try:
        return Path(script.path).read_bytes()
    except OSError as error:
        raise StageFailure(
            "ScriptMissing", f"cannot read the script: {error.strerror} ({script.path})"
        ) from error


def _compile(path: Path, name: str) -> None:
    """Raises StageFailure(ScriptInvalid)."""
    try:
        compile(path.read_bytes(), path.name, "exec", dont_inherit=True)
    except SyntaxError as error:
        where = f" in line {error.lineno}" if error.lineno else ""
        raise StageFailure("ScriptInvalid", f"{name} is not Python: {error.msg}{where}") from error
    except ValueError as error:
        raise StageFailure("ScriptInvalid", f"{name} is not Python: {error}") from error


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
