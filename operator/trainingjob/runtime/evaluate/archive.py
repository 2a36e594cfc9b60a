"""``model.pt2`` made safe to load.

``torch.export.load`` runs code from the file in several ways: it unpickles what the file marks as
pickled (``weights_only=False``), loads libraries that AOTInductor compiled, evaluates shape
expressions and guards as Python, builds source text from node names and looks operators up by
dotted path. A model that is to be judged is data, so the archive is copied: weights as they are,
the graph only if all of it is on the lists below, and nothing else.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

from torch.export.pt2_archive import PT2ArchiveReader, PT2ArchiveWriter

from .operators import is_allowed

_GRAPH = "models/model.json"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
# The loader wants the record; without bytes in it there is nothing to unpickle.
_SAMPLE_INPUTS = "data/sample_inputs/model.pt"

# What may stand in a shape, which torch writes by sympy.srepr and reads by evaluating it.
_SHAPE_NAMES = re.compile(
    r"Symbol|Integer|Float|Rational|Add|Mul|Pow|Max|Min|Mod|Abs|floor|ceiling|true|false"
    r"|oo|int_oo|Equality|Unequality|(Strict)?(LessThan|GreaterThan)|And|Or|Not"
    r"|FloorDiv|ModularIndexing|Where|PythonMod|CleanDiv|CeilDiv|(Ceil|Floor|Trunc|Round)ToInt"
    r"|TruncToFloat|RoundDecimal|ToFloat|LShift|RShift|PowByNatural|FloatPow|FloatTrueDiv"
    r"|IntTrueDiv|Identity"
)
_SHAPE_CHARACTERS = 4096
# What makes numbers of few characters long, and how often and how far it may.
_GROWING = ("Pow", "PowByNatural", "FloatPow", "LShift")
_MOST_GROWING, _MOST_EXPONENT = 2, 64
_MOST_NUMBER = 2**63
_SHAPE_NODES = (
    *(ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load),
    *(ast.Constant, ast.UnaryOp, ast.unaryop),
)
# Names of weights, modules and versions: they end in generated source, between quotes.
_PLAIN = re.compile(r"[\w .:/@+-]*")
_TREE_TYPES = (None, "builtins.tuple", "builtins.list", "builtins.dict")


class RefusedArchive(Exception):
    """The archive holds what could run as code, or is not one; the message says what."""


def copy_safely(source: Path, target: Path) -> None:
    """Write a copy of the ``.pt2`` at ``source`` that has data only, for the CPU.

    Raises RefusedArchive. Memory: the largest weight.
    """
    try:
        reader = _Reader(source)
        names = reader.get_file_names()
    except RefusedArchive:
        raise
    except Exception as error:  # torch raises RuntimeError, AssertionError and others
        raise RefusedArchive("it is not an archive of torch.export.save") from error
    if _GRAPH not in names or any(config not in names for config in _CONFIGS):
        raise RefusedArchive("it has no program of torch.export.save under the name model")
    try:
        graph = json.loads(reader.read_bytes(_GRAPH)) | {"guards_code": []}
        with PT2ArchiveWriter(str(target)) as writer:
            writer.write_string(_GRAPH, json.dumps(_checked(graph)))
            writer.write_bytes(_SAMPLE_INPUTS, b"")
            for name in _CONFIGS:
                config = _checked(json.loads(reader.read_bytes(name)))
                writer.write_string(name, json.dumps(config))
                folder = name.rpartition("/")[0]
                for path in sorted({entry["path_name"] for entry in config["config"].values()}):
                    if not re.fullmatch(r"(weight|tensor)_\d+", path):
                        raise RefusedArchive(f"{path} in it is an object of Python, not a tensor")
                    writer.write_bytes(f"{folder}/{path}", reader.read_bytes(f"{folder}/{path}"))
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError, RuntimeError) as error:
        raise RefusedArchive(f"it is damaged: {error}") from error


class _Reader(PT2ArchiveReader):
    """An archive whose records are not larger than the archive: torch packs none."""

    def __init__(self, path: Path) -> None:
        self._left = path.stat().st_size
        super().__init__(str(path))

    def read_bytes(self, name: str) -> bytes:
        self._left -= self.archive_file.get_record_size(name)
        if self._left < 0:
            raise RefusedArchive("its records are packed: torch.export.save packs none")
        return bytes(super().read_bytes(name))


def _checked(value: Any, key: str = "") -> Any:
    """The JSON value without metadata and with its devices set to the CPU."""
    if isinstance(value, str):
        _check_text(key, value)
        return value
    if isinstance(value, list):
        return [_checked(part, key) for part in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"type", "index"}:  # a device; programs of GPUs are judged on CPUs, too
        return {"type": "cpu", "index": None}
    if value.get("use_pickle"):
        raise RefusedArchive("it has a pickled tensor: export a module of plain tensors")
    for name in value:
        _check_text("", name)
    return {
        name: {} if name == "metadata" else _checked(part, name) for name, part in value.items()
    }


def _check_text(key: str, text: str) -> None:
    """Refuse ``text``, a value under ``key``, if it could run."""
    if key in ("target", "as_operator"):
        if not is_allowed(text):
            raise RefusedArchive(
                f"it calls {text[:80]!r}, which is none of torch's core operators: write the model "
                "with torch.nn's ordinary layers, or leave predictions.parquet"
            )
    elif key == "expr_str":
        if not _is_shape(text):
            raise RefusedArchive(f"it has the shape {text[:80]!r}, which is not an expression")
    elif key == "name":
        if text and not text.isidentifier():
            raise RefusedArchive(f"it has the name {text[:80]!r}, which is not an identifier")
    elif key in ("in_spec", "out_spec"):
        _check_tree(json.loads(text)[1])
    elif key not in ("as_string", "as_strings") and not _PLAIN.fullmatch(text):
        raise RefusedArchive(f"it has the name {text[:80]!r}, which is not one of a weight")


def _is_shape(text: str) -> bool:
    if len(text) > _SHAPE_CHARACTERS:
        return False
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, MemoryError):  # the parser's own limits
        return False
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    growing = [call for call in calls if getattr(call.func, "id", "") in _GROWING]
    if len(growing) > _MOST_GROWING or not all(map(_is_bounded, growing)):
        return False
    return all(
        isinstance(node, _SHAPE_NODES)
        and (not isinstance(node, ast.Name) or _SHAPE_NAMES.fullmatch(node.id))
        and (not isinstance(node, ast.Call) or isinstance(node.func, ast.Name))
        and (
            not isinstance(node, ast.Constant)
            or (isinstance(node.value, bool | int | float) and abs(node.value) <= _MOST_NUMBER)
            or (isinstance(node.value, str) and re.fullmatch(r"[\w.+-]{1,64}", node.value))
        )
        for node in nodes
    )


def _is_bounded(call: ast.Call) -> bool:
    """Whether the exponent is a small number: ``Pow(Symbol('s0'), Integer(2))``."""
    if len(call.args) != 2:
        return False
    exponent = call.args[1]
    if isinstance(exponent, ast.Call) and len(exponent.args) == 1:  # Integer(2), Float('0.5')
        exponent = exponent.args[0]
    if isinstance(exponent, ast.UnaryOp):
        exponent = exponent.operand
    if not isinstance(exponent, ast.Constant):
        return False
    try:
        return abs(float(exponent.value)) <= _MOST_EXPONENT  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def _check_tree(node: dict[str, Any]) -> None:
    """The structure of inputs and outputs: tuples, lists and dicts with text as keys."""
    context = json.loads(node["context"] or "null")
    keys_are_text = isinstance(context, list) and all(isinstance(key, str) for key in context)
    if node["type"] not in _TREE_TYPES or not (context is None or keys_are_text):
        raise RefusedArchive(f"it takes or gives a {node['type']}: use tensors")
    for child in node["children_spec"]:
        _check_tree(child)
