"""What the user's code writes elsewhere than into the output folder: found, named and kept.

Most scripts save where they stand, and that folder goes with the pod.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainingjob.api.payload import TrainPayload
from trainingjob.api.uris import is_remote

from ..base.errors import StageFailure
from ..base.text import size_in_words
from ..model.folder import File, files, in_words
from ..storage import remove, resolve, write_aside

# What the user's script is called in the working folder.
SCRIPT = "train.py"

FOLDER = "left-behind"
# What is kept of one attempt, and of how many.
_MOST_BYTES = 20 * 10**9
_MOST_FILES = 1000
_KEPT_ATTEMPTS = 3
# So much stays free on the storage.
_SPARE_BYTES = 10**9

Stamps = Mapping[Path, tuple[int, int]]


@dataclass(frozen=True)
class Place:
    """A folder where code may have written. ``name`` as in "model.pt in the working folder".

    ``depth``: how many levels of it are looked at. ``foreign``: others write there, too, so that
    only files count that are ours and have the name of a model. ``goes``: it goes with the pod.
    """

    name: str
    folder: Path
    depth: int = 100
    foreign: bool = False
    goes: bool = False

    def files(self) -> list[File]:
        """What lies there now and may be the code's."""
        found = files(self.folder, self.depth)
        if not self.foreign:
            return [file for file in found if file.path != Path(SCRIPT)]
        return [file for file in found if file.is_model and self._is_codes(file)]

    def _is_codes(self, file: File) -> bool:
        if file.path.parts[0].startswith("trainingjob-"):
            return False  # the working folder, or copies of what is remote
        try:
            return (self.folder / file.path).lstat().st_uid == os.getuid()
        except OSError:
            return False


class LeftBehind:
    """Made before the code runs: what is new or changed afterwards is the code's."""

    def __init__(self, payload: TrainPayload, working_folder: Path, home: str | None) -> None:
        self._payload = payload
        self._places = list(_places(payload, working_folder, home))
        self._before = [_stamps(place.files()) for place in self._places]

    def report(self) -> str:
        """What was written elsewhere, kept as far as it goes with the pod: ``it wrote model.pt
        (3 MB) in the working folder, kept in …``; "" for nothing."""
        found = [(place, written) for place, written in self._written() if written]
        if not found:
            return ""
        words = [f"{in_words(written)} in {place.name}" for place, written in found]
        lost = [(place, file) for place, written in found if place.goes for file in written]
        return f"it wrote {', '.join(words)}" + (f"; {self._kept(lost)}" if lost else "")

    def has_models(self) -> bool:
        """Whether files with the names of models would go with the pod."""
        return any(
            file.is_model for place, written in self._written() if place.goes for file in written
        )

    def keep_records(self) -> str:
        """Bring what tells how the training went to the storage, as far as it would go with the
        pod: ``runs/x/events.out… (3 kB); kept in …``; "" for nothing."""
        lost = [
            (place, file)
            for place, written in self._written()
            if place.goes and not place.foreign
            for file in written
            if file.is_record
        ]
        return f"{in_words([file for _, file in lost])}; {self._kept(lost)}" if lost else ""

    def _written(self) -> Iterator[tuple[Place, list[File]]]:
        for place, before in zip(self._places, self._before, strict=True):
            yield place, [f for f in place.files() if _stamp(f) != before.get(f.path)]

    def _kept(self, lost: Sequence[tuple[Place, File]]) -> str:
        """Bring the files to the storage; what came of it, in words."""
        uri = f"{self._payload.model_uri.rpartition('/')[0]}/{FOLDER}"
        folder = resolve(uri)
        target = folder / f"attempt-{self._payload.attempt}"
        chosen = _affordable(lost, folder)
        if not chosen:
            size = size_in_words(sum(file.size for _, file in lost))
            return f"there is no room on the storage to keep it ({size})"
        try:
            with write_aside(target) as aside:
                for place, file in chosen:
                    _copy(place, file, aside)
            _forget_older(folder)
        except (OSError, StageFailure) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            return f"it could not be kept: {why or error}"
        many = "" if len(chosen) == len(lost) else f"{len(chosen)} of {len(lost)} files are "
        where = f"{uri}/{target.name}" if is_remote(uri) else str(target)
        return f"{many}kept in {where}"


def _places(payload: TrainPayload, working_folder: Path, home: str | None) -> Sequence[Place]:
    output, temporary = resolve(payload.model_uri), Path(tempfile.gettempdir())
    remote = is_remote(payload.checkpoints)
    places = [
        Place("the working folder", working_folder, goes=True),
        Place("$TRAININGJOB_CHECKPOINT_DIR", resolve(payload.checkpoints), goes=remote),
        Place("$TRAININGJOB_INPUT_DIR", resolve(payload.dataset), depth=1, goes=remote),
        # $TRAININGJOB_OUTPUT_DIR + "model.pt"
        Place(str(output.parent), output.parent, depth=1, goes=remote),
        Place(str(temporary), temporary, depth=2, foreign=True, goes=True),
    ]
    if home:
        places.append(Place("$HOME", Path(home), depth=1, foreign=True, goes=True))
    # Of two names of a folder the first. Where nothing can be written, nothing was.
    by_folder = {place.folder.resolve(): place for place in reversed(places)}
    return [
        place
        for folder, place in reversed(by_folder.items())
        if os.access(folder, os.W_OK) and folder != Path("/")
    ]


def _stamps(found: Sequence[File]) -> Stamps:
    return {file.path: _stamp(file) for file in found}


def _stamp(file: File) -> tuple[int, int]:
    return file.size, file.written


def _affordable(lost: Sequence[tuple[Place, File]], folder: Path) -> list[tuple[Place, File]]:
    """Models first, then the smaller files, as many as there is room for."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    room = min(_MOST_BYTES, shutil.disk_usage(existing).free - _SPARE_BYTES)
    chosen: list[tuple[Place, File]] = []
    for place, file in sorted(lost, key=lambda one: (not one[1].is_model, one[1].size)):
        if file.size <= room and len(chosen) < _MOST_FILES:
            room -= file.size
            chosen.append((place, file))
    return chosen


def _copy(place: Place, file: File, folder: Path) -> None:
    """Without following a link that has come in the place of the file meanwhile."""
    target = folder / file.path
    if target.exists():
        target = folder / place.folder.name / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(place.folder / file.path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as source, target.open("xb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)


def _forget_older(folder: Path) -> None:
    attempts = [path for path in folder.glob("attempt-*") if path.name[8:].isdigit()]
    for path in sorted(attempts, key=lambda path: path.stat().st_mtime)[:-_KEPT_ATTEMPTS]:
        remove(path)
