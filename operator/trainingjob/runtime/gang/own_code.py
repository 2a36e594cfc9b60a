"""The user's own code, whatever the stage: brought, with the packages that it asks for, and what is
started."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trainingjob.api.expansion import expand
from trainingjob.api.payload import CODE_DIR, OwnCode, OwnFiles, ScriptRef

from ..base.digest import digest_of_folder
from ..base.errors import StageFailure
from ..base.log import log
from ..base.text import listed, size_in_words
from ..storage import code
from . import blame, ranks, requirements
from .node import Node
from .packages import Environment, environment
from .processes import Command, Exit


def python(payload: OwnFiles, node: int, folder: Path, kept: Sequence[str] = ()) -> Environment:
    """What runs the code, with the packages that it asks for; those that are ``kept`` have the
    version of the image. Raises what ``environment`` raises, and StageFailure: ScriptMissing,
    ScriptInvalid."""
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
    return environment(asked, given.wheels, place, node, kept)


def write(payload: OwnFiles, stage: str, folder: Path) -> Path | None:
    """The code of the ``stage`` into ``folder``; where it runs, None when there is nothing but a
    command. Raises StageFailure: ScriptMissing, ScriptInvalid, StorageUnavailable."""
    if payload.script is not None:
        path = folder / main_of(payload, stage)
        path.write_bytes(_source(payload.script))
        _compile(path, "the script")
        return folder
    if payload.code is None:
        return None
    total = code.bring(payload.code, folder)
    where, size = code.place(payload.code), size_in_words(total.size)
    log(f"code: {total.files} files ({size}) of {where}, {digest_of_folder(folder)}")
    for note in total.notes:
        log(f"code: {note}")
    cwd = folder / (payload.working_dir or "")
    if not cwd.is_dir():
        raise StageFailure(
            "ScriptMissing",
            f"the code has no folder {payload.working_dir} ({stage}.code.workingDir); it has "
            f"{listed([entry.name for entry in sorted(folder.iterdir())])}",
        )
    if not isinstance(payload, OwnCode) or payload.command is None:
        main = main_of(payload, stage)
        if not (cwd / main).is_file():
            found = [path.relative_to(cwd).as_posix() for path in sorted(cwd.rglob("*.py"))]
            there = f"it has {listed(found)}" if found else "it has no file of Python"
            message = f"the code has no file {main}: set {stage}.code.main; {there}"
            raise StageFailure("ScriptMissing", message)
        _compile(cwd / main, main)
    return cwd


def seeing(node: Node, cwd: Path | None, folder: Path) -> Node:
    """With the variable of the code that was written into ``folder``, if any was."""
    return node if cwd is None else node.seeing({CODE_DIR: str(folder)})


def commands(
    payload: OwnCode, stage: str, node: Node, cwd: Path | None, interpreter: Path
) -> tuple[str, Sequence[Command]]:
    """The code's name for messages, and what to start. Raises StageFailure: CommandNotFound,
    ScriptInvalid."""
    arguments = payload.args or []
    if payload.command is None:
        main = main_of(payload, stage)
        return main, _expanded(node.per_rank([str(interpreter), main, *arguments], cwd))
    (command,) = _expanded([Command([*payload.command, *arguments], node.env, cwd)])
    name = command.arguments[0]
    own = cwd / name if cwd and "/" in name else None
    if shutil.which(own or name, path=node.env["PATH"]) is None:
        raise StageFailure("CommandNotFound", f"there is no program {name} in the image")
    if own is not None:
        _require_line_ends(own, name)
    return name, [command]


def _require_line_ends(path: Path, name: str) -> None:
    """Raises StageFailure(ScriptInvalid) where Linux would say that there is no such file."""
    with path.open("rb") as file:
        first = file.readline(256)
    if first.startswith(b"#!") and first.endswith(b"\r\n"):
        program = first[2:].strip().decode(errors="replace")
        words = f"{name} has the line ends of Windows, with which there is no program {program}"
        raise StageFailure("ScriptInvalid", f"{words}: save it with those of Unix")


def run(name: str, commands: Sequence[Command], *, alone: bool, code: str, folder: Path) -> None:
    """Run the commands to their end; ``code`` is what is known of their text, ``folder`` where it
    lies, ``alone``: there are no others in the gang.

    Raises StageFailure with the failure that came first, or Disrupted."""
    oom_kills = blame.oom_kills()
    arguments = commands[0].arguments[1:]  # all have the same, but for their variables

    def failure(exit_: Exit) -> StageFailure | None:
        if exit_.code == 0:
            return None
        return blame.of_user_code(
            exit_, name, oom_kills, alone=alone, code=code, folder=folder, arguments=arguments
        )

    outcome = ranks.run_commands(commands, failure)
    if outcome.stopped:
        # Also with code 0: it may have ended half way in good order.
        raise StageFailure("Disrupted", "stopped by SIGTERM")
    if any(failure(exit_) for exit_ in outcome.exits):
        raise blame.primary(outcome, failure)


def text(payload: OwnCode, folder: Path) -> str:
    """The code as far as it is known: the command, and the script that ``folder`` has."""
    words = [*(payload.command or ()), *(payload.args or ())]
    files = [path for path in folder.rglob("*") if path.suffix == ".py" or path.name in words]
    sources = (path.read_text(encoding="utf-8", errors="replace") for path in sorted(files)[:1000])
    return "\n".join([" ".join(words), *sources])


def main_of(payload: OwnFiles, stage: str) -> str:
    """The file that Python runs, from where the code runs; what a script is called, too."""
    return payload.main or f"{stage}.py"


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
        words = f"{name} is not Python: {error.msg}{where}"
        if (error.text or "").lstrip().startswith(("!", "%")):
            words += ", which is for a notebook: leave it out"
        elif "codec can't decode" in str(error.msg):
            words += ": save it as UTF-8, or declare its encoding in the first line"
        raise StageFailure("ScriptInvalid", words) from error
    except ValueError as error:
        raise StageFailure("ScriptInvalid", f"{name} is not Python: {error}") from error
