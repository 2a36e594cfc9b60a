"""``python -m release make FOLDER --key PRIVATE [--image ARCHIVE ...]``, and ``verify``."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from . import artefacts, rootfs, sbom
from .envelope import ReleaseError, opened, private_key, public_key, sealed

ROOT = Path(__file__).resolve().parents[1]
PROVENANCE = "provenance.intoto.json"
_STATEMENT, _PREDICATE = "https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1"
_MOST_BYTES = 16 * 2**20  # of a provenance: a hundred thousand files
_BASE = "org.opencontainers.image.base.name"
_BY_DIGEST = re.compile("@sha256:[0-9a-f]{64}$")


def make(
    source: Path, folder: Path, key: Path, epoch: int, commit: str, images: list[Path]
) -> list[str]:
    """Write a release into a folder that is new or empty; the names of its files.

    ``epoch``: seconds, the date of everything in it. ``images``: archives to describe and sign.
    Raises ReleaseError."""
    signer = private_key(key)
    version = artefacts.version_of(source)
    if folder.exists() and any(folder.iterdir()):
        raise ReleaseError(f"{folder} is not empty: remove it, or name another folder")
    names = [archive.name for archive in images]
    if len({*names}) < len(names) or any(not name.endswith(".tar") for name in names):
        raise ReleaseError(f"archives of images need names of their own, NAME.tar: {names}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        new = Path(beside, "release")
        new.mkdir()
        bases = _fill(new, source, version, epoch, images)
        files = [*new.iterdir(), *images]  # the archives stay where they are: gigabytes
        subjects = {file.name: _sha256(file) for file in files}
        statement = _statement(subjects, version, epoch, commit, bases)
        (new / PROVENANCE).write_text(sealed(statement, signer), encoding="utf-8")
        new.rename(folder)
    return sorted(file.name for file in folder.iterdir())


def _fill(
    folder: Path, source: Path, version: str, epoch: int, images: list[Path]
) -> dict[str, str]:
    """What an image stands on, by the archive's name."""
    bills, bases = {}, {}
    for archive in images:
        contents = rootfs.read(archive)
        bills[archive.stem] = sbom.of_image(contents, version, epoch)
        bases[archive.name] = base = contents.labels.get(_BASE, "")
        if not _BY_DIGEST.search(base):
            raise ReleaseError(
                f"{archive} stands on {base or 'nobody knows what'}, which may be another image "
                "tomorrow: build it with BASE by digest, NAME@sha256:..."
            )
    for image in sbom.IMAGES:
        bills[f"{image}-python"] = sbom.of_pins(source, image, version, epoch)
    chart = source / artefacts.CHART
    bills[f"{chart.name}-chart"] = sbom.of_chart(chart, version, epoch)
    artefacts.wheel(source, folder, epoch)
    artefacts.chart(source, folder, version, epoch)
    artefacts.install_yaml(source, folder)
    for name, bill in bills.items():
        text = json.dumps(bill, indent=1, sort_keys=True) + "\n"
        (folder / f"{name}.cdx.json").write_text(text, encoding="utf-8")
    return bases


def verify(folder: Path, key: Path) -> list[str]:
    """What is wrong with a release, by name; nothing if all is as it was signed. Archives of images
    may be elsewhere; those that are in the folder are compared, too.

    Raises ReleaseError for a key that is none."""
    verifier = public_key(key)
    if not (folder / PROVENANCE).is_file():
        return [f"{PROVENANCE}: is missing"]
    try:
        with (folder / PROVENANCE).open("rb") as file:
            statement = opened(file.read(_MOST_BYTES), verifier)
    except ReleaseError as error:
        return [f"{PROVENANCE}: {error}"]
    if statement.get("predicateType") != _PREDICATE:
        return [f"{PROVENANCE}: is signed, and is no provenance of a release"]
    told = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    elsewhere = {*statement["predicate"]["buildDefinition"]["externalParameters"]["images"]}
    there = {file.name for file in folder.iterdir()} - {PROVENANCE}
    wrong = [f"{name}: is missing" for name in told.keys() - there - elsewhere]
    wrong += [f"{name}: is not of this release" for name in there - told.keys()]
    for name in there & told.keys():
        if not (folder / name).is_file() or _sha256(folder / name) != told[name]:
            wrong.append(f"{name}: was changed since it was signed")
    return sorted(wrong)


def _statement(
    subjects: dict[str, str], version: str, epoch: int, commit: str, bases: dict[str, str]
) -> dict[str, Any]:
    """An in-toto statement with SLSA's provenance, version 1."""
    materials: list[dict[str, Any]] = [{"uri": "git+.", "digest": {"gitCommit": commit}}]
    for image, base in sorted(bases.items()):
        name, _, digest = base.partition("@sha256:")
        about = {"name": f"base of {image}", "uri": name, "digest": {"sha256": digest}}
        materials.append(about)
    return {
        "_type": _STATEMENT,
        "subject": [
            {"name": name, "digest": {"sha256": digest}}
            for name, digest in sorted(subjects.items())
        ],
        "predicateType": _PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": "https://trainingjob.dev/make-release/v1",
                "externalParameters": {
                    "version": version,
                    "sourceDateEpoch": epoch,
                    "images": sorted(bases),
                },
                "resolvedDependencies": materials,
            },
            "runDetails": {"builder": {"id": "https://trainingjob.dev/make-release"}},
        },
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make(args: argparse.Namespace) -> list[str]:
    """Of the commit alone: nothing else that lies in the folder gets in."""
    if _git("status", "--porcelain"):
        raise ReleaseError("there are changes that are not committed: git status")
    epoch, commit = int(_git("log", "-1", "--format=%ct")), _git("rev-parse", "HEAD").decode()
    with tempfile.TemporaryDirectory() as name:
        with zipfile.ZipFile(io.BytesIO(_git("archive", "--format=zip", "HEAD"))) as source:
            source.extractall(name)
        return make(Path(name), args.folder, args.key, epoch, commit.strip(), args.image)


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise ReleaseError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m release")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, key in (("make", "private"), ("verify", "public")):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path)
        command.add_argument("--key", type=Path, required=True, help=f"PEM, {key}: Ed25519")
    about = "of `docker save`, named NAME.tar; may be given several times"
    commands.choices["make"].add_argument(
        "--image", type=Path, action="append", default=[], metavar="ARCHIVE", help=about
    )
    args = parser.parse_args()
    try:
        if args.command == "make":
            print("\n".join(f"{args.folder}/{name}" for name in _make(args)))
            return 0
        wrong = verify(args.folder, args.key)
    except (ReleaseError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for line in wrong:
        print(f"error: {args.folder}/{line}", file=sys.stderr)
    if not wrong:
        print(f"{args.folder}: all is as it was signed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
