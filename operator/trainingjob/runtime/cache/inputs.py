"""What a stage reads besides its payload."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainingjob.api.expansion import expand
from trainingjob.api.payload import OwnFiles, PreprocessPayload, TrainPayload

from ..base.digest import digest_of_text, sha256
from ..dataset.manifest import MANIFEST, DatasetManifest
from ..dataset.tokens import tokenizer_files
from ..model import pretrained
from ..storage import code, is_copy, resolve

Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Inputs:
    """``digests`` by name, which count; ``stamps`` of the files, taken before they were read."""

    digests: Mapping[str, str]
    stamps: Mapping[Path, Stamp]

    def unchanged(self) -> bool:
        """Whether no file was written or replaced since."""
        with suppress(OSError):
            return all(_stamp(path) == stamp for path, stamp in self.stamps.items())
        return False


def inputs_of_preprocess(
    payload: PreprocessPayload,
    files: Iterable[Path],
    tables: Mapping[str, Iterable[Path]] | None = None,
) -> Inputs:
    """The input's ``files``, by their names relative to it, those of splits likewise, those of
    further ``tables``, and own code. Raises OSError, and StageFailure as ``code.files`` does."""
    of_splits = payload.split.files.uris if payload.split.files is not None else {}
    bases = {str(name): _base(resolve(uri)) for name, uri in of_splits.items()}
    bases["input"] = _base(resolve(payload.input.uri))
    named = {}
    for file in files:
        around = [name for name, base in bases.items() if file.is_relative_to(base)]
        name = max(around, key=lambda name: len(bases[name].parts))
        named[f"{name} {file.relative_to(bases[name]).as_posix()}"] = file
    for table, others in (tables or {}).items():
        base = _base(resolve(payload.inputs[table].uri))
        named |= {f"table {table}: {file.relative_to(base).as_posix()}": file for file in others}
    given = payload.tokenize.from_ if payload.tokenize is not None else None
    if given is not None:
        its = tokenizer_files(given, chat=payload.task.messages is not None)
        named |= {f"tokenizer {name}": path for name, path in its.items()}
    return _read(named, payload)


def inputs_of_train(payload: TrainPayload) -> Inputs:
    """The dataset, by its manifest; of own code also its files, and those that its command names.

    Raises OSError, StageFailure(DatasetInvalid, StorageUnavailable)."""
    root = resolve(payload.dataset)
    # os.path, to which a word that is too long for a name is none.
    words = [expand(word, os.environ) for word in [*(payload.command or ()), *(payload.args or ())]]
    words = [word.split("=")[-1] for word in words]
    named = {f"argument {word}": Path(word) for word in words if os.path.isfile(word)}  # noqa: PTH113
    given = payload.model.pretrained if payload.model is not None else None
    if given is not None:
        its = pretrained.look(given)
        named |= {f"pretrained {path.relative_to(its.path)}": path for path in its.files}
    own = _read(named, payload)
    stamps = {root / MANIFEST: _stamp(root / MANIFEST)}
    manifest = DatasetManifest.read(root)
    for folder in (root, *(root / part for part in manifest.parts)):
        paths = [folder / MANIFEST]
        # What is remote is known by its manifests alone.
        for split, info in () if is_copy(root) else DatasetManifest.read(folder).splits.items():
            paths += [folder / split / file.name for file in info.files]
        stamps |= {path: _stamp(path) for path in paths if path not in stamps}
    return Inputs({**own.digests, "dataset": manifest.digest}, {**own.stamps, **stamps})


def _read(files: Mapping[str, Path], payload: OwnFiles) -> Inputs:
    files, script, own = dict(files), payload.script, payload.code
    digests: dict[str, str] = {}
    if own is not None and own.inline is None:
        files |= {f"code {name}": path for name, path in code.files(own).items()}
    elif own is not None:
        digests |= {f"code {name}": digest_of_text(t) for name, t in (own.inline or {}).items()}
    if script is not None and script.path is not None:
        files["script"] = Path(script.path)
    elif script is not None:
        digests["script"] = digest_of_text(script.inline or "")
    stamps = {path: _stamp(path) for path in files.values()}
    with ThreadPoolExecutor() as pool:
        digests |= dict(zip(files, pool.map(sha256, files.values()), strict=True))
    return Inputs(digests, stamps)


def _base(path: Path) -> Path:
    """The folder that the names of the input's files are relative to: of a glob its plain part."""
    if path.exists():
        return path if path.is_dir() else path.parent
    plain = itertools.takewhile(lambda part: not glob.has_magic(part), path.parts)
    return Path(*plain)


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino
