"""Removes the artefacts that a job's policy does not keep, when all is over.

Only what the job's own runs of stages have written, by what that says itself: a dataset's manifest,
the marker of a folder of checkpoints, the state of each. Killed at any moment, it can be asked for
again.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from trainingjob.api.payload import CleanupPayload, StageResult
from trainingjob.api.v1alpha1.reported import Outputs, StageWarning

from ..base.errors import storage_errors
from ..base.log import log
from ..base.text import cut
from ..dataset.manifest import MANIFEST, DatasetManifest
from ..storage import Place, entries, is_copy, place_of, remove, resolve
from ..storage.ownership import GIVEN, MARKER

_STATE = "state.json"  # of a checkpoint of the built-in training


def run(payload: CleanupPayload) -> StageResult:
    """Remove what is asked for; what was left is among the warnings.

    Raises StageFailure when the storage does not answer or refuses."""
    left = []
    if payload.checkpoints is not None:
        with storage_errors("remove the checkpoints"):
            left.append(_remove_checkpoints(payload.checkpoints, payload.checkpoints_run))
    if payload.dataset is not None:
        with storage_errors("remove the dataset"):
            left.append(_remove_dataset(payload.dataset, payload.dataset_run))
    for words in filter(None, left):
        log(words)
    warnings = [StageWarning(reason="Left", message=cut(words, 512)) for words in left if words]
    return StageResult(outputs=Outputs(uri=payload.output, warnings=warnings or None))


def _remove_dataset(uri: str, run: str) -> str:
    """First its manifest says that it is gone, unless another one has come meanwhile: nobody begins
    to read it then. It stays, for what the dataset was. What was left, in words."""
    place = place_of(resolve(uri))
    state = place.state(MANIFEST)
    if state is None:
        return ""
    try:
        manifest = DatasetManifest.model_validate_json(place.read(MANIFEST))
    except ValidationError:
        return f"{uri}/{MANIFEST} is damaged or of another version: the dataset was left"
    if manifest.writer != run:
        return f"the dataset at {uri} was written by another run: it was left"
    gone = manifest.model_copy(update={"removed": True})
    if not manifest.removed and not place.swap(MANIFEST, gone.text, state):
        return f"the dataset at {uri} has just been replaced: it was left"
    stamp, named = manifest.stamp, {*manifest.names} - {MANIFEST}
    names = [name for name in place.files() if name in named or (stamp and stamp in name)]
    place.discard(names)
    log(f"removed {len(names)} files of the dataset at {uri}")
    return ""


def _remove_checkpoints(uri: str, run: str) -> str:
    """The marker goes last: until all is gone they are ours. What was left, in words."""
    folder = resolve(uri)
    names = [name.rstrip("/") for name in entries(folder) or ()]
    place = place_of(folder)
    owner = place.read(MARKER)
    given = json.loads(place.read(GIVEN) or "[]")
    ours = [
        name
        for name in names
        if name not in (MARKER, GIVEN)
        and ((owner == run and name not in given) or _writer(place, name) == run)
    ]
    for name in ours:
        remove(folder / name)
    log(f"removed {len(ours)} entries of the checkpoints at {uri}")
    left = {*names} - {*ours, MARKER, GIVEN}
    if owner == run and not left:
        place.discard([name for name in (GIVEN, MARKER) if name in names])
    if not is_copy(folder):
        with suppress(OSError):  # there is something in it
            Path(folder).rmdir()
    if not left:
        return ""
    shown = ", ".join(sorted(left)[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
    return f"{shown} in {uri} is not known to be of this job's training: it was left"


def _writer(place: Place, name: str) -> str:
    """The run whose checkpoint a folder is; "" where it does not say so."""
    try:
        return str(json.loads(place.read(f"{name}/{_STATE}") or "{}").get("uid", ""))
    except (ValueError, AttributeError):
        return ""
