"""Bringing back an artefact: looked at before it is trusted."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainingjob.api.payload import PreprocessPayload, StageResult

from ..base.digest import digest_of_folder, sha256
from ..base.errors import StageFailure
from ..dataset.manifest import MANIFEST, TOKENIZER, DataFile, DatasetManifest, file_name
from ..storage import Place, fetch, publishing, resolve, write_aside
from .key import Cacheable


def restore(payload: Cacheable, result: StageResult) -> StageResult:
    """Have the artefact of ``result`` in the payload's own place; the result as this stage's.

    Raises StageFailure or OSError when it is gone, not as recorded or cannot be written, ValueError
    for one that lies elsewhere than jobs of this namespace and storage have theirs.
    """
    is_dataset = isinstance(payload, PreprocessPayload)
    own = payload.output if isinstance(payload, PreprocessPayload) else payload.model_uri
    uri, digest = result.outputs.uri, result.outputs.digest
    _check_place(payload, uri)
    folder = fetch(uri)
    if uri == own:
        (_verify_dataset if is_dataset else _verify_model)(folder, digest)
    elif is_dataset:
        _copy_dataset(folder, resolve(own), digest, payload.job.uid)
    else:
        with write_aside(resolve(own)) as aside:
            _copy_model(folder, aside)
            # Not the original, which may be replaced while it is copied.
            _verify_model(aside, digest)
    outputs = result.outputs.model_copy(update={"uri": own})
    return result.model_copy(update={"outputs": outputs, "cached": True})


def _check_place(payload: Cacheable, uri: str) -> None:
    records = payload.cache.records if payload.cache else ""
    shared = records.rpartition("/.cache/")[0] + "/"
    if not uri.startswith(shared) or ".." in uri.split("/"):
        raise ValueError(f"{uri} is not below {shared}")


def _verify_dataset(folder: Path, digest: str) -> None:
    manifest = DatasetManifest.read(folder)
    if manifest.digest != digest:
        raise StageFailure("DatasetInvalid", f"the dataset in {folder} is another one by now")
    for part, of_part in zip(manifest.parts, manifest.folds or (), strict=True):
        _verify_dataset(folder / part, of_part)
    files = _files(manifest)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: _verify_file(folder / name, files[name]), files))


def _verify_file(path: Path, file: DataFile) -> None:
    # What is read again is what tells of damage.
    if sha256(path) != file.sha256:
        raise StageFailure("DatasetInvalid", f"{path} is not as its manifest says")


def _copy_dataset(source: Path, target: Path, digest: str, writer: str) -> None:
    """As if it were written again: under names of its own, and with the same digest."""
    with publishing(target, MANIFEST) as new:
        manifest = _copied(source, new.place)
        if manifest.digest != digest:
            raise StageFailure("DatasetInvalid", f"the dataset in {source} is another one by now")
        names = []
        for part, own in zip(DatasetManifest.read(source).parts, manifest.parts, strict=True):
            place = new.place.below(own)
            of_fold = _copied(source / part, place)
            place.write(MANIFEST, of_fold.text)
            names += [f"{own}/{name}" for name in of_fold.names]
        manifest.model_copy(update={"writer": writer}).publish(new, names)


def _copied(source: Path, place: Place) -> DatasetManifest:
    """Copy the files that the manifest names, each looked at on its way; the new manifest."""
    manifest, stamp = DatasetManifest.read(source), place.stamp

    def copied(name: str, own: str, file: DataFile | None = None) -> None:
        with place.aside() as aside:
            shutil.copyfile(source / name, aside)
            if file is not None:
                _verify_file(aside, file)
            place.put(aside, own)

    files, splits = _files(manifest), {}
    with ThreadPoolExecutor() as pool:
        coming = []
        for split, info in manifest.splits.items():
            own = [
                file.model_copy(update={"name": file_name(number, stamp, file.sha256)})
                for number, file in enumerate(info.files)
            ]
            splits[split] = info.model_copy(update={"files": own})
            for old, file in zip(info.files, own, strict=True):
                name = f"{split}/{old.name}"
                coming.append(pool.submit(copied, name, f"{split}/{file.name}", files[name]))
        for one in coming:
            one.result()
    made = manifest.model_copy(update={"splits": splits, "stamp": stamp})
    if manifest.tokens is not None:
        for name in (made.tokenizer, TOKENIZER):
            copied(manifest.tokenizer, name)
    return made


def _files(manifest: DatasetManifest) -> dict[str, DataFile]:
    """By path. Raises ValueError for one that leads out of its split's folder."""
    for info in manifest.splits.values():
        for file in info.files:
            if Path(file.name).is_absolute() or ".." in Path(file.name).parts:
                raise ValueError(f"{file.name} is no name of a dataset's file")
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


def _copy_model(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise StageFailure("ModelMissing", f"there is no model in {source}")
    shutil.copytree(source, target, copy_function=shutil.copyfile, dirs_exist_ok=True)
