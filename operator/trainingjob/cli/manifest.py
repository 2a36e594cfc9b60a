"""Manifest files: YAML as Kubernetes reads it, with the lines for messages."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

from .errors import ManifestError

MAX_BYTES = 1024 * 1024
# Manifests are a dozen levels deep. PyYAML recurses, in C, until the stack ends.
_MAX_DEPTH = 100
# With every alias and merge key written out. A file of MAX_BYTES has half as many without any.
_MAX_NODES = 1_000_000

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Document:
    """One object of a file, and where its fields stand."""

    source: str
    value: Any
    node: yaml.Node

    @property
    def kind(self) -> str:
        """``kind``, "" when it has none."""
        kind = self.value.get("kind") if isinstance(self.value, dict) else None
        return kind if isinstance(kind, str) else ""

    @property
    def name(self) -> str:
        """``metadata.name``, "" when it has none."""
        meta = self.value.get("metadata") if isinstance(self.value, dict) else None
        name = meta.get("name") if isinstance(meta, dict) else None
        return name if isinstance(name, str) else ""

    def place(self, field: str) -> str:
        """``FILE:LINE`` of a field such as ``spec.preprocess.steps[2].fillna``, or of the nearest
        one above it that is there."""
        node = self.node
        line = node.start_mark.line
        for part in re.findall(r"[^.\[\]]+|\[[^\]]*\]", field):
            found = _child(node, part.strip("[]"))
            if found is None:
                break
            line, node = found
        return f"{self.source}:{line + 1}"


def read(source: str) -> list[Document]:
    """The documents of a file, ``-`` for standard input. Raises ManifestError."""
    name = "<stdin>" if source == "-" else source
    text = _text(source, name)
    documents = []
    try:
        _check_depth(text, name)
        for node in yaml.compose_all(text, _Loader):
            _check_size(node, name)
            loader = _Loader("")
            try:
                value = loader.construct_document(node)
            finally:
                loader.dispose()
            if value is not None:
                documents.append(Document(name, value, node))
    except yaml.MarkedYAMLError as error:
        raise ManifestError(_in_words(name, text, error)) from None
    except (yaml.YAMLError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ManifestError(f"{name}: not valid YAML: {reason}") from None
    if not documents:
        raise ManifestError(f"{name}: the file is empty")
    return documents


def config_maps(documents: list[Document], namespace: str) -> dict[str, dict[str, str]]:
    """The data of the ConfigMaps among the documents, by name. Raises ManifestError."""
    found: dict[str, dict[str, str]] = {}
    for document in documents:
        if document.kind != "ConfigMap":
            continue
        where = document.place("data")
        if not document.name:
            raise ManifestError(f"{where}: metadata.name: required field is missing")
        if document.value["metadata"].get("namespace", namespace) != namespace:
            continue
        data = document.value.get("data") or {}
        if not isinstance(data, dict) or not all(
            isinstance(key, str) and isinstance(text, str) for key, text in data.items()
        ):
            raise ManifestError(f"{where}: data: must be texts by key; use `key: |` for scripts")
        found[document.name] = data
    return found


def _text(source: str, name: str) -> str:
    try:
        if source == "-":
            raw = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"{name}: cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise ManifestError(f"{name}: larger than {MAX_BYTES // 1024} KiB: not a manifest")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ManifestError(f"{name}:{line}: not UTF-8: save it as UTF-8") from None
    return text


def _check_depth(text: str, name: str) -> None:
    """Refuse what is nested too deeply, before the composer, which recurses, sees it."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else "?"
                where = f"{name}:{line}"
                raise ManifestError(f"{where}: nested too deeply: not a manifest")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_size(document: yaml.Node, name: str) -> None:
    """Refuse what aliases and merge keys make too large, and what has itself within."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        where = f"{name}:{node.start_mark.line + 1}"
        found = sizes.get(id(node))
        if found == 0:
            raise ManifestError(f"{where}: an anchor that contains its own alias")
        if found is None:
            sizes[id(node)] = 0
            found = 1
            for child in node.value if isinstance(node, yaml.CollectionNode) else ():
                found += sum(map(size, child if isinstance(child, tuple) else (child,)))
            if found > _MAX_NODES:
                raise ManifestError(f"{where}: its aliases expand to more than {_MAX_NODES} values")
            sizes[id(node)] = found
        return found

    size(document)


# By what the parser says: what to do about it, unless the line itself tells.
_REMEDIES = {
    "mapping values are not allowed": "indent it as the line above, or put text with ': ' in "
    "quotes",
    "did not find expected key": "fields of one object begin in the same column",
    "did not find expected '-' indicator": "items of one list begin in the same column",
    "cannot start any token": "put the text in quotes",
    "found undefined alias": "put text that begins with * in quotes",
    "expected alphabetic or numeric character": "put text that begins with * or & in quotes",
}


# Where YAML would have a value, or blanks; and not inside of a text.
_TEMPLATE = re.compile(r"(?:^|[:-])[ \t]*\{\{", re.MULTILINE)
_NO_BREAK = re.compile(r"(?:^|[:-])[ \t]*\xa0", re.MULTILINE)


def _in_words(name: str, text: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    words = error.problem or error.context or "not valid YAML"
    lines = text.split("\n")
    line = "\n".join(lines[max(mark.line - 1, 0) : mark.line + 1]) if mark else ""
    remedy = next((said for start, said in _REMEDIES.items() if start in words), "")
    if _TEMPLATE.search(line):
        remedy = "{{ }} is for a template: render it first"
    elif _NO_BREAK.search(line):
        remedy = "the line has a no-break space: write it anew with plain ones"
    elif "cannot start any token" in words and "\t" in line:
        remedy = "indent with spaces, not tabs"
    elif "did not find expected ','" in words and error.context_mark:
        remedy = f"what begins in line {error.context_mark.line + 1} is not closed, or has text "
        remedy += "that must be in quotes"
    return f"{where}: {words}{'; ' if remedy else ''}{remedy}"


def _child(node: yaml.Node, part: str) -> tuple[int, yaml.Node] | None:
    """Line and node of a key or item, None when it is not there."""
    if isinstance(node, yaml.SequenceNode) and part.isdecimal() and int(part) < len(node.value):
        item = node.value[int(part)]
        return item.start_mark.line, item
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key.start_mark.line, value
    return None


class _Loader(_Base):  # type: ignore[misc]
    """Safe, and as sigs.k8s.io/yaml where PyYAML differs: `1e-3` is a number, dates and `12:30`
    are text, a key that is there twice is an error."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [
            (tag, pattern)
            for tag, pattern in resolvers
            if tag.rpartition(":")[2] not in ("timestamp", "int", "float")
        ]
        for first, resolvers in _Base.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> Any:
        """A dict, whose keys are text: `{1: 10}` is `{"1": 10}`. Raises ConstructorError for a
        duplicate key."""
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be plain text", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f'duplicate key "{key.value}"', key.start_mark
                )
            seen.add(key.value)
        return {_key(key): value for key, value in super().construct_mapping(node, deep).items()}


def _key(key: Any) -> Any:
    """As sigs.k8s.io/yaml has it."""
    if isinstance(key, bool):
        return str(key).lower()
    return str(key) if isinstance(key, int | float) else key


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^[-+]?(?:0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$"),
    [*"-+0123456789"],
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"
        r"|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
    ),
    [*"-+.0123456789"],
)
for _tag in ("timestamp", "binary"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_yaml_str)
