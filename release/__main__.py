"""``python -m release make FOLDER --key KEY [--image ARCHIVE …]``, ``… verify FOLDER --key KEY.pub``."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import artefacts, rootfs, sbom
from .envelope import ReleaseError, opened, private_key, public_key, sealed

ROOT = Path(__file__).resolve().parents[1]
PROVENANCE = "provenance.intoto.json"
_STATEMENT, _PREDICATE = "https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1"
_SBOM = ".cdx.json"


def make(
    source: Path, folder: Path, key: Path, version: str, epoch: int, commit: str, images: list[Path]
) -> list[str]:
    """Write a release into an empty folder; the names of its files. Raises ReleaseError."""
    signer = private_key(key)
    found = artefacts.version_of(source)
    if found != version:
        raise ReleaseError(f"VERSION is {version}, and the code says {found}")
    if folder.exists() and any(folder.iterdir()):
        raise ReleaseError(f"{folder} is not empty: a release is made anew, not changed")
    folder.mkdir(parents=True, exist_ok=True)
    artefacts.wheel(source, folder, epoch)
    artefacts.chart(source, folder, version, epoch)
    artefacts.install_yaml(source, folder)
    chart = source / artefacts.CHART
    _write(folder / f"{chart.name}-chart{_SBOM}", sbom.of_chart(chart, version, epoch))
    bases = {}
    for archive in images:
        contents = rootfs.read(archive)
        name = contents.reference.rpartition(":")[0].rpartition("/")[2] or archive.stem
        bases[name] = contents.labels.get("org.opencontainers.image.base.name", "unknown")
        _write(folder / f"{name}{_SBOM}", sbom.of_image(contents, version, epoch))
    subjects = {file.name: _sha256(file) for file in folder.iterdir()}
    # The images themselves stay where they are: a registry has them by their digests.
    subjects |= {archive.name: _sha256(archive) for archive in images}
    statement = _statement(subjects, version, epoch, commit, bases)
    (folder / PROVENANCE).write_text(sealed(statement, signer), encoding="utf-8")
    return sorted(file.name for file in folder.iterdir())


def verify(folder: Path, key: Path) -> list[str]:
    """What is wrong with a release, by name; nothing if all is as it was signed. Files that it
    names and that are archives of images may be elsewhere. Raises ReleaseError for no key."""
    verifier = public_key(key)
    try:
        statement = opened((folder / PROVENANCE).read_bytes(), verifier)
    except OSError:
        return [f"{PROVENANCE}: is missing"]
    except ReleaseError as error:
        return [f"{PROVENANCE}: {error}"]
    told = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    elsewhere = {*statement["predicate"]["buildDefinition"]["externalParameters"]["images"]}
    there = {file.name for file in folder.iterdir()} - {PROVENANCE}
    wrong = [f"{name}: is missing" for name in told.keys() - there - elsewhere]
    wrong += [f"{name}: is not of this release" for name in there - told.keys()]
    for name in there & told.keys():
        if _sha256(folder / name) != told[name]:
            wrong.append(f"{name}: was changed since it was signed")
    return sorted(wrong)


def _statement(
    subjects: dict[str, str], version: str, epoch: int, commit: str, bases: dict[str, str]
) -> dict[str, Any]:
    """An in-toto statement with SLSA's provenance, version 1."""
    images = sorted(name for name in subjects if name.endswith(".tar"))
    materials: list[dict[str, Any]] = [{"uri": "git+.", "digest": {"gitCommit": commit}}]
    for image, base in sorted(bases.items()):
        name, _, digest = base.partition("@sha256:")
        known = {"digest": {"sha256": digest}} if digest else {}
        materials.append({"name": f"base of {image}", "uri": name, **known})
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
                    "images": images,
                },
                "resolvedDependencies": materials,
            },
            "runDetails": {"builder": {"id": "https://trainingjob.dev/make-release"}},
        },
    }


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m release")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("make", "verify"):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path)
        command.add_argument("--key", type=Path, required=True)
    commands.choices["make"].add_argument("--version", required=True)
    commands.choices["make"].add_argument("--image", type=Path, action="append", default=[])
    args = parser.parse_args()
    try:
        if args.command == "make":
            if _git("status", "--porcelain"):
                raise ReleaseError("there are changes that are not committed")
            epoch, commit = int(_git("log", "-1", "--format=%ct")), _git("rev-parse", "HEAD")
            made = make(ROOT, args.folder, args.key, args.version, epoch, commit, args.image)
            print("\n".join(f"{args.folder}/{name}" for name in made))
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
