"""The packages that own code asks for: an environment of its own over that of the image.

Their wheels are found and built once, by node 0, and kept on the storage under a digest of all that
they depend on; ``wheels.json``, written last, says that they are whole. From them each pod makes an
environment, without the network. What the image has is seen there, and is not brought again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import uuid
import venv
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints

import trainingjob
from trainingjob.api.base import Model

from ..base.digest import digest_of, sha256
from ..base.errors import StageFailure, storage_errors
from ..base.log import log
from ..base.text import cut, listed, without_credentials
from ..storage import fetch, read, remove, resolve, write_aside, write_file
from .requirements import Requirements

WHEELS = "wheels.json"
MOST_WHEELS = 500
MOST_BYTES = 20 * 2**30
# Of pip, which tries each address several times.
_SECONDS = 3600
_LOOK_SECONDS = 1.0
# With the lines that explain it.
_ERROR = re.compile(r"^(?:ERROR: |(?=The conflict is caused by:))(.*(?:\n {4}.*)*)", re.MULTILINE)
# The last words of a program that it has run: git, or what builds a wheel.
_CAUSE = re.compile(r"^ *(fatal: .*|\S.*(?=\n *\[end of output\]))$", re.MULTILINE)
# What pip's own words about a network come with: it tries again, and then says that there is no
# such package.
_NETWORK = re.compile(
    r"^WARNING: Retrying \(|Max retries exceeded|ConnectionError|ReadTimeout|HTTP error 5\d\d"
    r"|50[0234] Server Error|^ *fatal: .*(Failed to connect|Could not resolve host|timed out)",
    re.MULTILINE,
)
_OF_THE_IMAGE = "Requirement already satisfied: "


class Wheel(Model):
    """A file beside ``wheels.json``, in the folder that this names."""

    name: Annotated[str, StringConstraints(max_length=255, pattern=r"^[A-Za-z0-9][^/\x00]*\.whl$")]
    sha256: str


class Wheels(Model):
    """All that are needed, and what they are called."""

    folder: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    wheels: Annotated[list[Wheel], Field(max_length=MOST_WHEELS)]
    packages: list[str]


@dataclass(frozen=True)
class Environment:
    """Its interpreter, and the variables by which programs find it."""

    python: Path
    variables: Mapping[str, str]


def environment(
    given: Requirements, uri: str, folder: Path, node: int, kept: Sequence[str] = ()
) -> Environment:
    """Made in ``folder``, which is there; node 0 sees to it that there are the wheels at ``uri``.
    Of packages that are ``kept``, given as ``name==version``, there is no other version.

    Raises StageFailure: PackagesInvalid, PackagesUnreachable, StorageUnavailable, StorageFailed."""
    begun = time.monotonic()
    image = _paths()
    own = folder / "environment"
    python = _make(own, image)
    place = f"{uri}/{_key(given, image, kept)}"
    found = _kept(place, given.hashes)
    how = "kept"
    if found is None and node == 0:
        _keep(place, *_built(given, python, folder, kept))
        found, how = _kept(place, given.hashes), "found"
    while found is None:
        if node == 0:
            raise StageFailure("StorageFailed", f"the wheels in {place} are not as they were kept")
        time.sleep(_LOOK_SECONDS)
        found = _kept(place, given.hashes)
    told, wheels = found
    if given.hashes:
        wheels = _own_copies(wheels, given.hashes, folder / "checked")
    if wheels:
        arguments = ["--no-index", "--no-deps", "--ignore-installed", *map(str, wheels)]
        _pip(python, "install", arguments, folder)
    seconds = time.monotonic() - begun
    log(f"requirements: {listed(told.packages) or 'all in the image'} ({how}, {seconds:.0f} s)")
    path = f"{own / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return Environment(python, {"VIRTUAL_ENV": str(own), "PATH": path})


def packages_of(environment: Environment) -> Path | None:
    """Where it has the packages that were asked for; None when it is that of the image."""
    folder = environment.variables.get("VIRTUAL_ENV")
    return None if folder is None else _site(Path(folder))


def _site(folder: Path) -> Path:
    places = {"base": str(folder), "platbase": str(folder)}
    return Path(sysconfig.get_path("purelib", "venv", places))


def _paths() -> list[str]:
    """Where the image has its packages, our runtime among them."""
    found = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    return list(dict.fromkeys([*found, str(Path(trainingjob.__file__).parents[1])]))


def _key(given: Requirements, image: Sequence[str], kept: Sequence[str]) -> str:
    """A digest of what the wheels depend on: the same list in another image has others."""
    installed = sorted({p.name for path in image for p in Path(path).glob("*.dist-info")})
    counted = [given.text, sys.version, sysconfig.get_platform(), installed]
    if kept:
        counted.append([*kept])
    return digest_of(counted).removeprefix("sha256:")[:32]


def _make(folder: Path, image: Sequence[str]) -> Path:
    """An environment without anything but what the image has; its interpreter."""
    venv.EnvBuilder(symlinks=True).create(folder)
    python = folder / "bin" / "python"
    (_site(folder) / "_of_the_image.pth").write_text("".join(f"{path}\n" for path in image))
    # torchrun and its like start the interpreter that they are written for.
    for distribution in importlib.metadata.distributions(path=list(image)):
        for entry in distribution.entry_points.select(group="console_scripts"):
            _write_program(folder / "bin" / entry.name, python, entry.module, entry.attr)
    return python


def _write_program(path: Path, python: Path, module: str, attribute: str) -> None:
    if path.exists() or not re.fullmatch(r"[\w.-]+", path.name):
        return
    first = attribute.partition(".")[0]
    begin = f"#!{python}\nimport sys\nfrom {module} import {first}\n"
    path.write_text(f"{begin}sys.exit({attribute}())\n")
    path.chmod(0o755)


def _kept(place: str, hashes: Set[str]) -> tuple[Wheels, list[Path]] | None:
    """The wheels that are kept there, as they were kept and of these ``hashes``, if there are any;
    None when they are not."""
    with storage_errors("read the wheels"):
        try:
            told = Wheels.model_validate_json(read(f"{place}/{WHEELS}"))
            folder = fetch(f"{place}/{told.folder}") if told.wheels else resolve(place)
            paths = [folder / wheel.name for wheel in told.wheels]
            whole = all(sha256(p) == w.sha256 for p, w in zip(paths, told.wheels, strict=True))
            whole = whole and all(_is_one_of(path, hashes) for path in paths)
        except (FileNotFoundError, ValueError):
            return None
    return (told, paths) if whole else None


def _is_one_of(path: Path, hashes: Set[str]) -> bool:
    if not hashes:
        return True
    for name in {one.partition(":")[0] for one in hashes}:
        with path.open("rb") as file:
            if f"{name}:{hashlib.file_digest(file, name).hexdigest()}" in hashes:
                return True
    return False


def _own_copies(wheels: Sequence[Path], hashes: Set[str], folder: Path) -> list[Path]:
    """Copies that nobody changes between the look at them and their use."""
    folder.mkdir()
    copies = []
    with storage_errors("read the wheels"):
        for wheel in wheels:
            copies.append(Path(shutil.copyfile(wheel, folder / wheel.name)))
            if not _is_one_of(copies[-1], hashes):
                words = f"{wheel.name} was changed on the storage while it was read"
                raise StageFailure("StorageFailed", words)
    return copies


def _keep(place: str, folder: Path, packages: list[str]) -> None:
    """Whoever reads ``wheels.json`` finds what it names: another that keeps the same has a folder
    of its own."""
    wheels = sorted(folder.glob("*.whl"))
    size = sum(path.stat().st_size for path in wheels)
    if len(wheels) > MOST_WHEELS or size > MOST_BYTES:
        words = f"{len(wheels)} packages of {size / 2**30:.1f} GiB are more than {MOST_WHEELS}"
        raise StageFailure("PackagesInvalid", f"{words} or {MOST_BYTES // 2**30} GiB")
    told = Wheels(
        folder=uuid.uuid4().hex,
        wheels=[Wheel(name=path.name, sha256=sha256(path)) for path in wheels],
        packages=packages,
    )
    with storage_errors("keep the wheels"):
        if wheels:
            with write_aside(resolve(f"{place}/{told.folder}")) as aside:
                for path in wheels:
                    shutil.copyfile(path, aside / path.name)
        before = _folder_of(place)
        write_file(resolve(f"{place}/{WHEELS}"), told.model_dump_json(by_alias=True) + "\n")
        if before is not None:  # it was no longer whole
            remove(resolve(f"{place}/{before}"))


def _folder_of(place: str) -> str | None:
    """Of wheels that are kept, whole or not."""
    try:
        return Wheels.model_validate_json(read(f"{place}/{WHEELS}")).folder
    except (OSError, ValueError):
        return None


def _built(
    given: Requirements, python: Path, folder: Path, kept: Sequence[str]
) -> tuple[Path, list[str]]:
    """A folder of the wheels of what the image lacks, and their names."""
    report, wheels = folder / "report.json", folder / "wheels"
    wheels.mkdir()
    log("requirements: looking for what the image lacks")
    arguments = ["--dry-run", "--report", str(report), "-r", str(given.path)]
    if kept:
        constraints = folder / "of_the_image.txt"
        constraints.write_text("\n".join([*kept, ""]), encoding="utf-8")
        arguments += ["-c", str(constraints)]
    _pip(python, "install", arguments, given.path.parent)
    items = json.loads(report.read_bytes())["install"]
    if not items:
        return wheels, []
    names = sorted(f"{i['metadata']['name']} {i['metadata']['version']}" for i in items)
    pinned = folder / "pinned.txt"
    pinned.write_text("\n".join([*given.options, *_pins(items), ""]), encoding="utf-8")
    log(f"requirements: fetching {listed(names)}")
    arguments = ["--no-deps", "--wheel-dir", str(wheels), "-r", str(pinned)]
    _pip(python, "wheel", arguments, folder)
    for path in sorted(wheels.glob("*.whl")):
        if not _is_one_of(path, given.hashes):
            raise StageFailure(
                "PackagesInvalid",
                f"{path.name} was built of a source, whose hash is asked for: where it is kept it "
                "could not be told from another; name a version with a wheel and its hash, or "
                "have it in the image",
            )
    return wheels, names


def _pins(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each package of pip's report:
    https://pip.pypa.io/en/stable/reference/installation-report/"""
    lines, hashes = [], []
    for item in items:
        about, origin = item["metadata"], item["download_info"]
        line = f"{about['name']}=={about['version']}"
        if item["is_direct"]:
            url, revision = origin["url"], origin.get("vcs_info")
            source = f"{revision['vcs']}+{url}@{revision['commit_id']}" if revision else url
            line = f"{about['name']} @ {source}"
        archive = origin.get("archive_info") or {}
        found = (archive.get("hashes") or {}).get("sha256")
        lines.append(line)
        hashes.append(found)
    if not all(hashes):
        return lines
    return [f"{line} --hash=sha256:{value}" for line, value in zip(lines, hashes, strict=True)]


def _pip(python: Path, verb: str, arguments: Sequence[str], cwd: Path) -> None:
    """Run the pip that comes with Python, for the environment of ``python``. Its words are in the
    log; raises StageFailure with the last ones."""
    quiet = ["--no-input", "--disable-pip-version-check", "--no-color", "--progress-bar", "off"]
    command = [*_command(python), verb, *quiet, *arguments]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env["GIT_TERMINAL_PROMPT"] = "0"  # nobody answers
    try:
        done = subprocess.run(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        words = f"pip did not end within {_SECONDS // 60} minutes"
        raise StageFailure("PackagesUnreachable", words) from None
    text = without_credentials(done.stdout.decode(errors="replace"))
    sys.stderr.writelines(
        line for line in text.splitlines(keepends=True) if not line.startswith(_OF_THE_IMAGE)
    )
    if done.returncode == 0:
        return
    raise _refused(text, done.returncode)


def _refused(text: str, code: int) -> StageFailure:
    """What pip says, the cause before what follows of it."""
    errors = [*_CAUSE.findall(text), *_ERROR.findall(text)] or text.strip().splitlines()[-1:]
    words = cut("; ".join(dict.fromkeys(" ".join(error.split()) for error in errors)), 800)
    reason: Any = "PackagesUnreachable" if _NETWORK.search(text) else "PackagesInvalid"
    if "No space left on device" in text:
        reason = "DiskFull"
    return StageFailure(reason, f"pip: {words or f'exit code {code}'}")


def _command(python: Path) -> list[str]:
    bundled = find_spec("ensurepip")
    place = Path(bundled.origin).parent / "_bundled" if bundled and bundled.origin else Path()
    if wheels := sorted(place.glob("pip-*.whl")):
        return [str(python), f"{wheels[-1]}/pip"]
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--python", str(python)]
    words = "the image has no pip, neither as a module nor with Python (ensurepip)"
    raise StageFailure("PackagesInvalid", words)
