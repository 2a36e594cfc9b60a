"""Bringing back an artefact: looked at before it is trusted."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainingjob.api.payload import PreprocessPayload, StageResult

from ..base.digest import digest_of_folder, sha256
from ..base.errors import StageFailure
from ..dataset.manifest import MANIFEST, DataFile, DatasetManifest, file_name
from ..storage import Place, fetch, place_of, publishing, resolve, write_aside
from .beneath import Beneath
from .key import Cacheable


def restore(payload: Cacheable, result: StageResult) -> StageResult:
    """Have the artefact of ``result`` in the payload's own place; the result as this stage's.

    Raises StageFailure or OSError when it is gone, not as recorded or cannot be written, ValueError
    for one that lies elsewhere than jobs of this namespace and storage have theirs.
    """
    is_dataset = isinstance(payload, PreprocessPayload)
    own = payload.output if isinstance(payload, PreprocessPayload) else payload.model_uri
    uri, digest = result.outputs.uri, result.outputs.digest
    shared = _shared(payload, uri)
    folder = fetch(uri)
    if uri == own:
        (_verify_dataset if is_dataset else _verify_model)(folder, digest)
        if is_dataset:
            _take_over(resolve(own), digest, payload.job.uid)
    elif not folder.is_dir():
        raise ValueError(f"there is nothing at {uri}")
    else:
        theirs = Beneath(resolve(shared), folder)
        if is_dataset:
            _copy_dataset(theirs, resolve(own), digest, payload.job.uid)
        else:
            with write_aside(resolve(own)) as aside:
                _copy_model(theirs, aside)
                # Not the original, which may be replaced while it is copied.
                _verify_model(aside, digest)
    outputs = result.outputs.model_copy(update={"uri": own})
    return result.model_copy(update={"outputs": outputs, "cached": True})


def _shared(payload: Cacheable, uri: str) -> str:
    """The place of all jobs of this namespace and storage. Raises ValueError when it has no
    ``uri``."""
    shared = payload.cache.records.rpartition("/.cache/")[0] if payload.cache else ""
    if not uri.startswith(f"{shared}/") or ".." in uri.split("/"):
        raise ValueError(f"{uri} is not below {shared}/")
    return shared


def _verify_dataset(folder: Path, digest: str) -> None:
    manifest = DatasetManifest.read(folder)
    if manifest.digest != digest:
        raise StageFailure("DatasetInvalid", f"the dataset in {folder} is another one by now")
    for part, of_part in zip(manifest.parts, manifest.folds or (), strict=True):
        _verify_dataset(folder / part, of_part)
    files = _files(manifest)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: _verify_file(folder / name, files[name].sha256, name), files))


def _verify_file(path: Path, digest: str, name: str) -> None:
    if sha256(path) != digest:
        raise StageFailure("DatasetInvalid", f"{name} is not as its manifest says")


def _take_over(target: Path, digest: str, writer: str) -> None:
    """The run that has found it is its writer from now on, as of one that it has copied."""
    place = place_of(target)
    state = place.state(MANIFEST)
    manifest = DatasetManifest.model_validate_json(place.read(MANIFEST))
    if manifest.stamp is None or manifest.writer == writer:
        return
    mine = manifest.model_copy(update={"writer": writer})
    if mine.digest != digest or not place.swap(MANIFEST, mine.text, state):
        raise StageFailure("DatasetInvalid", f"the dataset in {target} is another one by now")


def _copy_dataset(source: Beneath, target: Path, digest: str, writer: str) -> None:
    """As if it were written again: under names of its own, and with the same digest."""
    with publishing(target, MANIFEST) as new:
        theirs, mine = _copied(source, "", new.place, digest)
        names = []
        parts = zip(theirs.parts, mine.parts, theirs.folds or (), strict=True)
        for part, own, of_part in parts:
            place = new.place.below(own)
            _, of_fold = _copied(source, f"{part}/", place, of_part)
            place.write(MANIFEST, of_fold.text)
            names += [f"{own}/{name}" for name in of_fold.names]
        mine.model_copy(update={"writer": writer}).publish(new, names)


def _copied(
    source: Beneath, part: str, place: Place, digest: str
) -> tuple[DatasetManifest, DatasetManifest]:
    """Copy the files that the manifest names, each looked at on its way; it, and the new one."""
    with tempfile.TemporaryDirectory(prefix="trainingjob-") as folder:
        source.copy(f"{part}{MANIFEST}", Path(folder, MANIFEST))
        theirs = DatasetManifest.parse(Path(folder))
    if theirs.digest != digest:
        raise StageFailure("DatasetInvalid", "the dataset is another one by now")
    if theirs.stamp is None:
        raise StageFailure("DatasetInvalid", "the dataset is of an earlier version")

    def copied(name: str, own: str, digest: str) -> None:
        with place.aside() as aside:
            source.copy(f"{part}{name}", aside)
            _verify_file(aside, digest, name)
            place.put(aside, own)

    splits = {
        split: info.model_copy(
            update={
                "files": [
                    file.model_copy(update={"name": file_name(number, place.stamp, file.sha256)})
                    for number, file in enumerate(info.files)
                ]
            }
        )
        for split, info in theirs.splits.items()
    }
    mine = theirs.model_copy(update={"splits": splits, "stamp": place.stamp})
    files = zip(_files(theirs).items(), _files(mine), strict=True)
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(lambda f: copied(f[0][0], f[1], f[0][1].sha256), files):
            pass
    for their, own in zip(theirs.beside, mine.beside, strict=True):
        for name in (own.name, own.plain):
            copied(their.name, name, their.digest)
    return theirs, mine


def _files(manifest: DatasetManifest) -> dict[str, DataFile]:
    """By path."""
    return {
        f"{split}/{file.name}": file
        for split, info in manifest.splits.items()
        for file in info.files
    }


def _verify_model(folder: Path, digest: str) -> None:
    if not folder.is_dir():
        raise StageFailure("ModelMissing", f"there is no model in {folder}")
    if digest_of_folder(folder) != digest:
        raise StageFailure("ModelCorrupt", f"the model in {folder} is not as it was recorded")


def _copy_model(source: Beneath, target: Path) -> None:
    for name in source.files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        source.copy(name, target / name)
