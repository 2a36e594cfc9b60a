"""The user's own code, run before the steps: ``preprocess(frame, context) -> frame``, or
``preprocess(paths, context)`` where the input is raw."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import os
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainingjob.api.payload import PreprocessPayload

from .. import storage
from ..base.errors import StageFailure
from ..base.text import listed, one_line
from ..gang import blame, own_code
from .engines.frame import Engine, Frame
from .given import OF_FILE
from .notes import Notes

_MODULE = "trainingjob_script"


@dataclass(frozen=True)
class Context:
    """What the script may want to know."""

    engine: str  # "pandas" or "spark"
    spark: Any  # the SparkSession; None for engine pandas
    task: str  # "classification" or "regression"
    label: str
    input: str  # path of the input: a file, a folder or a glob
    seed: int  # of the split
    inputs: Mapping[str, Any]  # the tables of preprocess.inputs by name, as frames


@dataclass(frozen=True)
class Own:
    """What is the code's alone, and stays as long as there are executors."""

    folder: Path  # empty, for its files
    packages: Path | None = None  # those that the image lacks


def run_script(
    engine: Engine,
    given: Frame | list[str],
    payload: PreprocessPayload,
    tables: Mapping[str, Frame],
    own: Own,
    notes: Notes | None = None,
) -> Frame:
    """What the code makes of a frame, or of the paths of files.

    Raises StageFailure: ScriptMissing, ScriptInvalid, ScriptFailed, ModuleMissing, OutOfMemory,
    DiskFull, StorageUnavailable."""
    cwd = own_code.write(payload, payload.stage, own.folder)
    assert cwd is not None, "the payload has code"
    context = Context(
        engine=payload.engine,
        spark=engine.session,
        task=payload.task.type,
        label=payload.task.label,
        input=str(storage.resolve(payload.input.uri)),
        seed=payload.split.seed or 0,
        inputs={table: _frame(engine, frame) for table, frame in tables.items()},
    )
    main = own_code.main_of(payload, payload.stage)
    argument = given if isinstance(given, list) else _frame(engine, given)
    if engine.session is not None:
        # What functions import where they run.
        from .engines.sending import send

        if own.packages is not None:
            send(engine.session, own.packages, own.folder.parent)
        if payload.code is not None:
            named = (os.path.relpath(cwd / name, own.folder) for name in ("", *_named()))
            places = [name for name in named if not name.startswith(os.pardir)]
            send(engine.session, own.folder, own.folder.parent, places)
    with _importing(cwd), _user_code(main, own.folder):
        preprocess = _load(cwd / main, main)
        result = preprocess(argument, context)
    # Of a frame of pandas; numbers of rows have no name.
    index = [str(name) for name in getattr(getattr(result, "index", None), "names", ()) if name]
    if index and notes is not None:
        notes.warn(
            "ColumnLeftOut",
            f"the script's frame: {listed(index)}: the index of a frame is no column; to have it "
            "as one, return frame.reset_index()",
        )
    made = engine.frame_of_user(result, notes)
    if payload.split.files is not None and OF_FILE not in made.columns:
        raise StageFailure(
            "ScriptInvalid",
            f"the script's frame has no column {OF_FILE}, which says of which split's file a row "
            "is: keep it",
        )
    return made


def _frame(engine: Engine, frame: Frame) -> Any:
    """With columns that no dataset can hold: the user's code may know what to do with them."""
    return engine.frame_for_user(frame.over(frame.whole or frame.view))


@contextmanager
def _importing(folder: Path) -> Iterator[None]:
    """Files of the folder import each other, and relative paths are those from there, as where
    Python runs a file. Afterwards they are known no longer: our own process has other things to
    do."""
    before = {*sys.modules}
    paths = [str(folder / name) for name in ("", *_named())]
    sys.path[:0] = paths
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        sys.path[:] = [path for path in sys.path if path not in paths]
        for name in {*sys.modules} - before:
            file = getattr(sys.modules[name], "__file__", None)
            if isinstance(file, str) and Path(file).is_relative_to(folder):
                del sys.modules[name]


def _named() -> list[str]:
    """Folders of the code that PYTHONPATH names, as Python reads it where it runs a file."""
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [name for name in named if name and not name.startswith("/")]


def _load(path: Path, name: str) -> Callable[[Any, Context], Any]:
    """The function of the file, its module executed."""
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module
    _send_by_value(module)
    spec.loader.exec_module(module)
    function = module.__dict__.get("preprocess")
    if not callable(function):
        raise StageFailure("ScriptInvalid", f"{name} has no function preprocess(frame, context)")
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as error:
        message = f"{name}: preprocess must take two arguments, (frame, context)"
        raise StageFailure("ScriptInvalid", message) from error
    except ValueError:
        pass  # a callable without a signature: it may be one that fits
    return function


def _send_by_value(module: types.ModuleType) -> None:
    """Let Spark send the functions of the file along: executors do not know it by this name."""
    if "pyspark" in sys.modules:
        from pyspark import cloudpickle

        cloudpickle.register_pickle_by_value(module)


@contextmanager
def _user_code(name: str, folder: Path) -> Iterator[None]:
    """Turn whatever the code in ``folder`` raises into StageFailure, its traceback in the log."""
    try:
        yield
    except (StageFailure, MemoryError):
        raise
    except (SystemExit, Exception) as error:
        trace = error.__traceback__
        while trace is not None and not Path(trace.tb_frame.f_code.co_filename).is_relative_to(
            folder
        ):
            trace = trace.tb_next
        told = traceback.format_exception(type(error), error, trace or error.__traceback__)
        sys.stderr.write("".join(told).replace(f"{folder}/", ""))
        raise _failure(error, _place(name, error, folder), folder) from None


def _failure(error: BaseException, where: str, folder: Path) -> StageFailure:
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        said = f": {error.code}" if isinstance(error.code, str) else ""
        return StageFailure("ScriptFailed", f"{where}: sys.exit({code}){said}", exit_code=code)
    what = f"{type(error).__name__}: {one_line(error)}"
    sources = (path.read_text(errors="replace") for path in folder.rglob("*.py"))
    reason, told = blame.of_exception(what, "\n".join(sources), folder)
    return StageFailure(reason, f"{where}: {told}")


def _place(name: str, error: BaseException, folder: Path) -> str:
    """Where in the code it happened: the innermost line of it."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(folder)
    ]
    if not frames:
        return name
    path = Path(frames[-1].filename).relative_to(folder).as_posix()
    return f"{path}, line {frames[-1].lineno}"
