"""The user's own code, run before the steps: ``preprocess(frame, context) -> frame``, or
``preprocess(paths, context)`` where the input is raw."""

from __future__ import annotations

import inspect
import linecache
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainingjob.api.payload import PreprocessPayload, ScriptRef

from .. import storage
from ..base.errors import StageFailure
from ..base.text import listed, one_line
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


def run_script(
    engine: Engine,
    given: Frame | list[str],
    payload: PreprocessPayload,
    tables: Mapping[str, Frame],
    notes: Notes | None = None,
) -> Frame:
    """What the script makes of a frame, or of the paths of files.

    Raises StageFailure(ScriptMissing, ScriptInvalid, ScriptFailed)."""
    assert payload.script is not None
    name, source = _source(payload.script)
    context = Context(
        engine=payload.engine,
        spark=engine.session,
        task=payload.task.type,
        label=payload.task.label,
        input=str(storage.resolve(payload.input.uri)),
        seed=payload.split.seed or 0,
        inputs={table: _frame(engine, frame) for table, frame in tables.items()},
    )
    preprocess = _load(name, source)
    argument = given if isinstance(given, list) else _frame(engine, given)
    with _user_code(name):
        result = preprocess(argument, context)
    # Of a frame of pandas; numbers of rows have no name.
    index = [str(name) for name in getattr(getattr(result, "index", None), "names", ()) if name]
    if index and notes is not None:
        notes.warn(
            "ColumnLeftOut",
            f"the script's frame: {listed(index)}: the index of a frame is no column; to have it "
            "as one, return frame.reset_index()",
        )
    made = engine.frame_of_user(result)
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


def _source(script: ScriptRef) -> tuple[str, str]:
    if script.inline is not None:
        return "script.py", script.inline
    path = Path(script.path or "")
    try:
        return str(path), path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise StageFailure("ScriptInvalid", f"{path} is not UTF-8") from error
    except OSError as error:
        raise StageFailure("ScriptMissing", f"cannot read {path}: {error.strerror}") from error


def _load(name: str, source: str) -> Callable[[Any, Context], Any]:
    """The script's function, its module executed."""
    try:
        code = compile(source, name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        what = error.msg if isinstance(error, SyntaxError) else str(error)
        raise StageFailure("ScriptInvalid", f"{name}{line}: {what}") from error
    # Tracebacks show the lines of a script that is no file.
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    module = types.ModuleType(_MODULE)
    module.__file__ = name
    sys.modules[_MODULE] = module
    _send_to_executors(module)
    with _user_code(name):
        exec(code, module.__dict__)  # noqa: S102 - running it is the purpose
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


def _send_to_executors(module: types.ModuleType) -> None:
    """Let Spark send the script's functions along: executors cannot import its module."""
    if "pyspark" in sys.modules:
        from pyspark import cloudpickle

        cloudpickle.register_pickle_by_value(module)


@contextmanager
def _user_code(name: str) -> Iterator[None]:
    """Turn whatever the user's code raises into StageFailure(ScriptFailed)."""
    try:
        yield
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        said = f": {error.code}" if isinstance(error.code, str) else ""
        message = f"{name}{_line(name, error)}: sys.exit({code}){said}"
        raise StageFailure("ScriptFailed", message, exit_code=code) from error
    except MemoryError:
        raise
    except Exception as error:
        message = f"{name}{_line(name, error)}: {type(error).__name__}: {one_line(error)}"
        raise StageFailure("ScriptFailed", message) from error


def _line(name: str, error: BaseException) -> str:
    """Where in the script it happened: the innermost line of it."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == name]
    return f", line {lines[-1]}" if lines else ""
