"""Bringing back an artefact: looked at before it is trusted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainingjob.api.payload import PreprocessPayload, StageResult

from ..base.digest import digest_of_folder
from ..base.errors import StageFailure
from ..dataset.manifest import MANIFEST, DataFile, DatasetManifest, data_digest
from ..storage import fetch, resolve, write_aside
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
    verify = _verify_dataset if is_dataset else _verify_model
    if uri == own:
        verify(folder, digest)
    else:
        with write_aside(resolve(own)) as aside:
            if not folder.is_dir():
                raise ValueError(f"there is nothing at {uri}")
            theirs = Beneath(resolve(shared), folder)
            if is_dataset:
                _copy_dataset(theirs, aside)
            else:
                _copy_model(theirs, aside)
            # Not the original, which may be replaced while it is copied.
            verify(aside, digest)
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
        list(pool.map(lambda name: _verify_file(folder / name, files[name]), files))


def _verify_file(path: Path, file: DataFile) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # The digest is of what comes before the footer.
        whole = data_digest(path) == file.sha256 and pq.read_metadata(path).num_rows == file.rows
    except (pa.ArrowException, OSError):  # damage, or what reading again will tell
        whole = False
    if not whole:
        raise StageFailure("DatasetInvalid", f"{path} is not as its manifest says")


def _copy_dataset(source: Beneath, target: Path, part: str = "") -> None:
    """The manifest first: what is copied after it is what our copy of it names."""
    source.copy(f"{part}{MANIFEST}", target / MANIFEST)
    manifest = DatasetManifest.parse(target)
    for split in manifest.splits:
        (target / split).mkdir()
    for name in _files(manifest):
        source.copy(f"{part}{name}", target / name)
    for name in manifest.tokens.files if manifest.tokens is not None else ():
        source.copy(f"{part}{name}", target / name)
    for fold in manifest.parts:
        (target / fold).mkdir()
        _copy_dataset(source, target / fold, f"{part}{fold}/")


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
