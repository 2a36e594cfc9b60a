"""Own code that judges the model: it reads all, writes a file of metrics, and changes nothing."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainingjob.api.payload import (
    DATASET_DIGEST,
    INPUT_DIR,
    MODEL_DIR,
    OUTPUT_DIR,
    EvaluatePayload,
)
from trainingjob.api.uris import is_remote
from trainingjob.api.v1alpha1.patterns import METRIC

from ..base import reading
from ..base.digest import digest_of_folder
from ..base.errors import StageFailure, storage_errors
from ..base.log import log
from ..base.text import cut, listed, size_in_words
from ..dataset import manifest as datasets
from ..dataset.manifest import DatasetManifest
from ..gang import leftovers, own_code
from ..gang.node import Node
from ..model.folder import files, in_words
from ..storage import resolve, shown
from .report import METRICS, MetricsFile

# The file's, and of all that is kept beside it.
_MOST_BYTES, MOST_METRICS, _NAME_CHARS = 2**16, 64, 40
_MOST_FILES, _MOST_FILE_BYTES = 1000, 2**30
_NAME = re.compile(METRIC)
# Of which a pod's result has room for that many digits; the gates judge by the same.
_DIGITS = 10


def judged(
    payload: EvaluatePayload, model: Path, folder: Path
) -> tuple[MetricsFile, DatasetManifest | None, Path]:
    """What the code says of the model, on which dataset of ours if it is one, and the folder of
    what it has written, below ``folder``, which is empty.

    Raises StageFailure: those of own code, MetricsInvalid, ModelMissing, ModelCorrupt,
    DatasetInvalid."""
    with storage_errors("read the model"):
        if not files(model):
            raise StageFailure("ModelMissing", f"there is no model in {shown(model)}")
        digest = digest_of_folder(model)
    manifest = _dataset(payload)
    output = folder / "output"
    name = _run(payload, model, folder, output)
    with storage_errors("read the model"):
        if (now := digest_of_folder(model)) != digest:
            message = (
                f"the evaluation code has changed the model that it judges ({shown(model)}): its "
                f"digest was {digest} and is {now}"
            )
            raise StageFailure("ModelCorrupt", message)
    metrics = metrics_of(output, name)
    check_size(output)
    log(f"metrics: {listed([f'{key} {value:.6g}' for key, value in metrics.items()])}")
    report = MetricsFile(
        task=payload.task.type,
        samples=_rows(manifest),
        metrics=metrics,
        undefined={},
        source="ownCode",
        model_uri=payload.model_uri,
        model_digest=digest,
        dataset_uri=payload.dataset,
        dataset_digest=manifest.digest if manifest is not None else "",
    )
    return report, manifest, output


def keep(output: Path, target: Path) -> None:
    """What the code has written beside its metrics, into ``target``. Raises OSError."""
    for file in files(output):
        if file.path != Path(METRICS):
            (target / file.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(output / file.path, target / file.path)


def _dataset(payload: EvaluatePayload) -> DatasetManifest | None:
    """Bring what the code reads; what it is, where that is one of ours."""
    if INPUT_DIR not in os.environ:
        return None
    datasets.fetch(payload.dataset)
    folder = resolve(payload.dataset)
    try:
        manifest = DatasetManifest.read(folder)
    except StageFailure:
        if os.environ.get(DATASET_DIGEST):
            raise
        return None  # a folder of anything, which own code has learned from
    datasets.require(manifest, folder)
    if os.environ.get(DATASET_DIGEST) and _rows(manifest):
        with storage_errors("read the test split"):
            datasets.verify(manifest, folder, "test")
    return manifest


def _rows(manifest: DatasetManifest | None) -> int:
    """Of the test split."""
    found = manifest.splits.get("test") if manifest is not None else None
    return found.rows if found is not None else 0


def _run(payload: EvaluatePayload, model: Path, folder: Path, output: Path) -> str:
    """Run the code, which may write to ``output``; its name."""
    with leftovers.ended():  # making packages runs code of theirs
        python = own_code.python(payload, 0, folder)
    work, scratch = folder / "code", folder / "scratch"
    for place in (work, scratch, output):
        place.mkdir()
    places = {MODEL_DIR: model, OUTPUT_DIR: output, "TMPDIR": scratch}
    if os.environ.get("HOME", "") in ("", tempfile.gettempdir()):  # as images have it
        places["HOME"] = scratch
    node = Node.from_env(1, 1, os.environ).seeing(
        {**python.variables, **{name: str(place) for name, place in places.items()}}
    )
    cwd = own_code.write(payload, payload.stage, work)
    node = own_code.seeing(node, cwd, work)
    name, commands = own_code.commands(payload, payload.stage, node, cwd or work, python.python)
    if is_remote(payload.model_uri):
        log(
            "warning: nothing keeps the evaluation code from writing to the storage, to which this "
            "pod has credentials"
        )
    if reading.possible():
        commands = [
            replace(one, arguments=reading.command([work, scratch, output], one.arguments))
            for one in commands
        ]
    else:
        log("warning: the kernel does not keep the evaluation code from writing elsewhere")
    with leftovers.ended():
        text = own_code.text(payload, work)
        own_code.run(name, commands, alone=True, code=text, folder=work)
    return name


def metrics_of(output: Path, name: str) -> dict[str, float]:
    """What the file says that the code of this ``name`` has written. Raises
    StageFailure(MetricsInvalid)."""
    path = output / METRICS
    if path.is_symlink() or not path.is_file():
        found = files(output)
        there = f"it has {in_words(found)}" if found else "nor anything else"
        raise _invalid(f"{name} ended well and left no {METRICS} in its output folder; {there}")
    if (size := path.stat().st_size) > _MOST_BYTES:
        words = f"{METRICS} has {size_in_words(size)}, of which {size_in_words(_MOST_BYTES)}"
        raise _invalid(f"{words} are the most")
    try:
        read = json.loads(path.read_bytes(), object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _invalid(f"{METRICS} is not JSON: {error.msg} ({where})") from error
    except (ValueError, RecursionError) as error:
        raise _invalid(f"{METRICS} is not JSON: {cut(str(error), 200)}") from error
    if not isinstance(read, dict):
        raise _invalid(f"{METRICS} is {_kind(read)}, and no object of numbers by name")
    if not read:
        raise _invalid(f"{METRICS} has no metric")
    if len(read) > MOST_METRICS:
        raise _invalid(f"{METRICS} has {len(read)} names, of which {MOST_METRICS} are the most")
    return {_known(key): _number(key, value) for key, value in read.items()}


def _known(name: str) -> str:
    if len(name) > _NAME_CHARS or not _NAME.fullmatch(name):
        raise _invalid(
            f"{METRICS} has a metric called {json.dumps(cut(name, 60))}: a name is at most "
            f"{_NAME_CHARS} of letters, digits and '_.:@/%+-', and begins with a letter, digit or "
            "'_'"
        )
    return name


def _number(name: str, value: Any) -> float:
    if isinstance(value, dict):
        inner = next(iter(value), "a")
        words = f"give its numbers names of their own, such as {name}/{cut(str(inner), 20)}"
        raise _invalid(f"{name} of {METRICS} is an object: {words}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid(f"{name} of {METRICS} is {_kind(value)}, and no number")
    try:
        number = float(f"{float(value):.{_DIGITS}g}")
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _invalid(f"{name} of {METRICS} is {number}: leave out what has no value")
    return number


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{cut(name, 60)} is there twice")
        found[name] = value
    return found


def check_size(output: Path) -> None:
    """Raises StageFailure(MetricsInvalid) when the code has left more than is kept."""
    found = files(output)
    size = sum(file.size for file in found)
    if len(found) > _MOST_FILES or size > _MOST_FILE_BYTES:
        raise _invalid(
            f"the evaluation code has left {len(found)} files of {size_in_words(size)} in its "
            f"output folder, of which {_MOST_FILES} and {size_in_words(_MOST_FILE_BYTES)} are the "
            "most"
        )


def _kind(value: Any) -> str:
    names = {bool: "true or false", str: "text", list: "a list", type(None): "null"}
    return names.get(type(value), "a number")


def _invalid(message: str) -> StageFailure:
    return StageFailure("MetricsInvalid", message)
