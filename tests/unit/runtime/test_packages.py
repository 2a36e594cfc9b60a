"""What requirements say, and wheels that are kept: whole or not there, whenever somebody dies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.gang import packages, requirements


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_a_file_is_read_with_all_that_it_includes(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "req/all.txt": "# ours\n-r base.txt\n--requirement=more/dev.txt\n-c limits.txt\n"
            "--index-url https://example.com/simple  # ours\nkeras \\\n  --hash=sha256:1\n",
            "req/base.txt": "-r all.txt\nnumpy\n",
            "req/more/dev.txt": "--pre\nxgboost\n",
            "req/limits.txt": "numpy<2\n",
        },
    )
    found = requirements.of_file(tmp_path / "req/all.txt", tmp_path)
    assert all(word in found.text for word in ("keras", "numpy", "xgboost", "numpy<2"))
    assert sorted(found.options) == ["--index-url https://example.com/simple", "--pre"]


def test_a_package_of_many_files_has_all_its_hashes_in_a_line(tmp_path: Path) -> None:
    """As `pipenv requirements --hash` writes it."""
    hashes = [f"sha256:{number:064x}" for number in range(200)]
    (tmp_path / "all.txt").write_text(f"numpy==2.0 {' '.join(f'--hash={one}' for one in hashes)}")
    assert requirements.of_file(tmp_path / "all.txt", tmp_path).hashes == set(hashes)


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("keras==3 # as it was", ["keras==3"]),
        ("a @ https://h/a.whl#sha256=b \t  # c # d", ["a @ https://h/a.whl#sha256=b"]),
        ("# only", []),
        (f"a{' ' * 4000}# b", ["a"]),
    ],
)
def test_a_comment_begins_behind_a_blank(line: str, read: list[str]) -> None:
    assert [*requirements._lines(line)] == read


# files -> words
FAULTS: dict[str, tuple[dict[str, str], str]] = {
    "it is not there": ({}, "the code has no file all.txt"),
    "a line of blanks, at which pip would look for an hour": (
        {"all.txt": f"a{' ' * 2**19}b"},
        "all.txt: 524288 blanks in a row, of which 500 are the most",
    ),
    "the same, in many lines": (
        {"all.txt": "a" + f"{' ' * 400}\\\n" * 9},
        "all.txt: 3600 blanks in a row",
    ),
    "it includes what is not there": ({"all.txt": "-r base.txt"}, "the code has no file base.txt"),
    "it includes what is not of the code": ({"all.txt": "-r ../x.txt"}, "x.txt does not lie in"),
    "it includes what is the machine's": ({"all.txt": "-r/etc/passwd"}, "passwd does not lie in"),
    "credentials": (
        {"all.txt": "x @ file://u:p@ss@h/x.whl"},
        "all.txt: x @ file://h/x.whl: code that lies",
    ),
    "the code itself": ({"all.txt": "-e ."}, "all.txt: -e .: code that lies beside it is no"),
    "a folder of the code": ({"all.txt": "./lib"}, "all.txt: ./lib: code that lies beside it"),
    "a file of the machine": ({"all.txt": "x @ file:///tmp/x.whl"}, "code that lies beside it"),
    "no text": ({"all.txt": "\ud800"}, "cannot read all.txt: 'utf-8' codec"),
    "without end": ({"all.txt": "numpy\n" * 200_000}, "all.txt: more than 50 files or 1 MiB"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_no_environment_is_made_of_is_told(name: str, tmp_path: Path) -> None:
    files, words = FAULTS[name]
    write(tmp_path, {"x.txt": "keras"})
    (tmp_path / "code").mkdir()
    for file, text in files.items():
        (tmp_path / "code" / file).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(StageFailure) as told:
        requirements.of_file(tmp_path / "code/all.txt", tmp_path / "code")
    assert told.value.reason == "PackagesInvalid"
    assert words in told.value.message
    assert "\n" not in told.value.message


def wheels(folder: Path, text: str = "x") -> Path:
    write(folder, {"a-1-py3-none-any.whl": text, "b-1-py3-none-any.whl": text, "notes.txt": "x"})
    return folder


def keep(place: str, folder: Path) -> None:
    packages._keep(place, folder, ["a 1", "b 1"])


def kept(place: str) -> list[str] | None:
    found = packages._kept(place, frozenset())
    return None if found is None else [path.read_text() for path in found[1]]


def test_wheels_are_kept_and_found(tmp_path: Path) -> None:
    place = f"file://{tmp_path}/kept"
    assert kept(place) is None
    keep(place, wheels(tmp_path / "new"))
    assert kept(place) == ["x", "x"]


def test_nothing_to_keep_is_kept_too(tmp_path: Path) -> None:
    place = f"file://{tmp_path}/kept"
    (tmp_path / "new").mkdir()
    packages._keep(place, tmp_path / "new", [])
    assert kept(place) == []


def wheel_of(place: Path) -> Path:
    return next(place.glob("*/a-1-*.whl"))


def elsewhere(place: Path) -> None:
    told = json.loads((place / "wheels.json").read_text())
    told["wheels"][0]["name"] = "../../secret.whl"
    (place / "wheels.json").write_text(json.dumps(told))


# what happens to what is kept
HARM: dict[str, Callable[[Path], object]] = {
    "a wheel is gone": lambda place: wheel_of(place).unlink(),
    "a wheel is another": lambda place: wheel_of(place).write_text("y"),
    "what tells of them is cut": lambda place: (place / "wheels.json").write_text('{"folder":'),
    "it tells of files elsewhere": elsewhere,
}


@pytest.mark.parametrize("name", HARM)
def test_what_is_not_as_it_was_kept_is_kept_anew(name: str, tmp_path: Path) -> None:
    place = f"file://{tmp_path}/kept"
    keep(place, wheels(tmp_path / "new"))
    HARM[name](tmp_path / "kept")
    assert kept(place) is None
    keep(place, wheels(tmp_path / "newer", "z"))
    assert kept(place) == ["z", "z"]


def test_who_dies_before_the_last_write_has_kept_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"file://{tmp_path}/kept"
    with monkeypatch.context() as patch:
        patch.setattr(packages, "write_file", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(StageFailure, match="cannot keep the wheels"):
            keep(place, wheels(tmp_path / "new"))
    assert kept(place) is None
    keep(place, wheels(tmp_path / "newer", "z"))
    assert kept(place) == ["z", "z"]


def asked(*hashes: str) -> requirements.Requirements:
    text = "".join(f"p{n}==1 \\\n    --hash={one}\n" for n, one in enumerate(hashes))
    return requirements.Requirements(Path("requirements.txt"), f"# --hash=sha256:ff\n{text}")


def hashes_of(folder: Path, algorithm: str = "sha256") -> list[str]:
    found = (path.read_bytes() for path in sorted(folder.glob("*.whl")))
    return [f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}" for content in found]


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_wheels_that_were_exchanged_whole_are_not_those_of_the_hashes(
    algorithm: str, tmp_path: Path
) -> None:
    place = f"file://{tmp_path}/kept"
    wanted = asked(*hashes_of(wheels(tmp_path / "new"), algorithm)).hashes
    assert len(wanted) == 1  # both wheels have the same text
    keep(place, tmp_path / "new")
    found = packages._kept(place, wanted)
    assert found is not None
    (tmp_path / "checked").parent.mkdir(exist_ok=True)
    copies = packages._own_copies(found[1], wanted, tmp_path / "checked")
    assert [path.parent for path in copies] == [tmp_path / "checked"] * 2

    # By who writes to the storage: wheels.json says that they are as they were kept.
    keep(place, wheels(tmp_path / "theirs", "y"))
    assert packages._kept(place, frozenset()) is not None
    assert packages._kept(place, wanted) is None


def test_a_wheel_that_is_exchanged_while_it_is_read_is_not_installed(tmp_path: Path) -> None:
    place = f"file://{tmp_path}/kept"
    wanted = asked(*hashes_of(wheels(tmp_path / "new"))).hashes
    keep(place, tmp_path / "new")
    found = packages._kept(place, wanted)
    assert found is not None
    found[1][1].write_text("y")
    with pytest.raises(StageFailure, match="was changed on the storage"):
        packages._own_copies(found[1], wanted, tmp_path / "checked")


def test_two_that_keep_the_same_do_not_spoil_each_other(tmp_path: Path) -> None:
    place = f"file://{tmp_path}/kept"
    keep(place, wheels(tmp_path / "new"))
    first = packages._kept(place, frozenset())
    keep(place, wheels(tmp_path / "other", "y"))
    assert first is not None
    assert kept(place) == ["y", "y"]


# pip's words -> reason, message
SAID: dict[str, tuple[str, str, str]] = {
    "no such version": (
        "ERROR: No matching distribution found for x==9\n",
        "PackagesInvalid", "pip: No matching distribution found for x==9",
    ),
    "a conflict": (
        "ERROR: Cannot install a and b\n\nThe conflict is caused by:\n    a needs c<2\n    b needs "
        "c>2\n\nTo fix this you could try to\n",
        "PackagesInvalid",
        "pip: Cannot install a and b; The conflict is caused by: a needs c<2 b needs c>2",
    ),
    "other hashes": (
        "ERROR: THESE DO NOT MATCH\n    x from https://u:p@h/x:\n        Expected sha256 0\n",
        "PackagesInvalid", "pip: THESE DO NOT MATCH x from https://h/x: Expected sha256 0",
    ),
    "no network": (
        "WARNING: Retrying (Retry(total=0)) after connection broken by 'ConnectionError'\n"
        "ERROR: No matching distribution found for x\n",
        "PackagesUnreachable", "pip: No matching distribution found for x",
    ),
    "a full disk": (
        "ERROR: Could not install: [Errno 28] No space left on device\n",
        "DiskFull", "pip: Could not install: [Errno 28] No space left on device",
    ),
    "nothing": ("", "PackagesInvalid", "pip: exit code 3"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_pip_is_told_in_its_own_words(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, reason, message = SAID[name]
    (tmp_path / "said").write_text(text)
    monkeypatch.setattr(
        packages, "_command", lambda _: ["sh", "-c", f"cat {tmp_path}/said; exit 3"]
    )
    with pytest.raises(StageFailure) as told:
        packages._pip(Path("python"), "install", [], tmp_path)
    assert (told.value.reason, told.value.message) == (reason, message)


GIT = """Collecting git+https://example.com/x.git@v1
  Running command git clone --filter=blob:none --quiet https://example.com/x.git /tmp/pip-req-1
  fatal: WORDS
  error: subprocess-exited-with-error
  × git clone --filter=blob:none --quiet https://example.com/x.git did not run successfully.
  │ exit code: 128
  ╰─> See above for output.
  note: This error originates from a subprocess, and is likely not a problem with pip.
"""
BUILD = """  error: subprocess-exited-with-error

  × Building wheel for x (pyproject.toml) did not run successfully.
  │ exit code: 1
  ╰─> [2 lines of output]
      Traceback (most recent call last):
      RuntimeError: CUDA_HOME is not set
      [end of output]

  note: This error originates from a subprocess, and is likely not a problem with pip.
  ERROR: Failed building wheel for x
ERROR: Failed to build one or more wheels
"""


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        (
            GIT.replace("WORDS", "could not read Username for 'https://example.com'"),
            "PackagesInvalid",
            "pip: fatal: could not read Username for 'https://example.com'",
        ),
        (
            GIT.replace(
                "WORDS", "unable to access 'https://e.com/': Could not resolve host: e.com"
            ),
            "PackagesUnreachable",
            "pip: fatal: unable to access 'https://e.com/': Could not resolve host: e.com",
        ),
        (
            BUILD,
            "PackagesInvalid",
            "pip: RuntimeError: CUDA_HOME is not set; Failed to build one or more wheels",
        ),
    ],
)
def test_the_cause_is_told_and_not_what_pip_says_of_it(text: str, reason: str, words: str) -> None:
    failure = packages._refused(text, 1)
    assert (failure.reason, failure.message) == (reason, words)
