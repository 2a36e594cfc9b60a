"""Own code of several files: the same in every pod, bounded, and nothing that is no file of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trainingjob.api.payload import CodeRef, OwnCode, ScriptRef
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.gang import own_code
from trainingjob.runtime.gang.node import Node
from trainingjob.runtime.storage import code, copies


def write(folder: Path, *names: str, text: str = "x") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def brought(ref: CodeRef, target: Path) -> dict[str, str]:
    target.mkdir()
    code.bring(ref, target)
    files = sorted(path for path in target.rglob("*") if path.is_file())
    return {path.relative_to(target).as_posix(): path.read_text() for path in files}


def mounted(folder: Path) -> CodeRef:
    """As a kubelet shows a ConfigMap: pkg/volume/util/atomic_writer.go."""
    write(folder / "..2026_11_29", "train.py", "data.py")
    (folder / "..data").symlink_to("..2026_11_29")
    for name in ("train.py", "data.py"):
        (folder / name).symlink_to(f"..data/{name}")
    return CodeRef(path=str(folder))


def of_folder(folder: Path) -> CodeRef:
    write(folder, "train.py", "data.py", ".git/index", "lib/__pycache__/x.pyc", ".venv/bin/python")
    (folder / ".venv/lib").symlink_to("/usr/lib")
    return CodeRef(uri=f"file://{folder}")


def of_claim(folder: Path) -> CodeRef:
    write(folder / "sources/repo", "train.py", "data.py")
    return CodeRef(uri="pvc://sources/repo")


SOURCES: dict[str, Callable[[Path], CodeRef]] = {
    "the manifest": lambda folder: CodeRef(inline={"train.py": "x", "data.py": "x"}),
    "a ConfigMap": mounted,
    "a folder": of_folder,
    "a claim": of_claim,
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_same_files_wherever_they_come_from(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAININGJOB_CLAIMS_DIR", str(tmp_path / "source"))
    ref = SOURCES[name](tmp_path / "source")
    assert brought(ref, tmp_path / "pod") == {"data.py": "x", "train.py": "x"}


def test_programs_can_be_run_and_texts_cannot(tmp_path: Path) -> None:
    write(tmp_path / "repo", "run.sh", text="#!/bin/sh\n")
    write(tmp_path / "repo", "train.py")
    brought(CodeRef(uri=f"file://{tmp_path}/repo"), tmp_path / "pod")
    assert [os.access(tmp_path / "pod" / n, os.X_OK) for n in ("run.sh", "train.py")] == [
        True,
        False,
    ]


def link(folder: Path) -> None:
    write(folder, "train.py")
    (folder / "lib").mkdir()
    (folder / "lib/secret").symlink_to("/etc/passwd")


def pipe(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / "fifo")


# what is done to the folder -> reason, words
FAULTS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "it is not there": (lambda f: None, "ScriptMissing", "repo is not there"),
    "a file": (
        lambda f: write(f.parent, "repo"), "ScriptMissing", "repo is a file, and code is a folder",
    ),
    "empty": (lambda f: write(f, ".git/index"), "ScriptMissing", "there are no files of code in"),
    "a link": (link, "ScriptInvalid", "lib/secret of the code in file://"),
    "a pipe": (pipe, "ScriptInvalid", "fifo of the code in"),
    "many files": (
        lambda f: write(f, *(f"{n}.py" for n in range(11))),
        "ScriptInvalid",
        "11 files, of which 10 are",
    ),
    "many folders": (
        lambda f: [(f / str(n)).mkdir(parents=True) for n in range(41)],
        "ScriptInvalid",
        "more than 40 files and folders",
    ),
    "large files": (
        lambda f: write(f, "data.csv", text="x" * 3 * 2**20),
        "ScriptInvalid",
        "3 MiB, of which 2 are the most; the largest file is data.csv. Data belongs into",
    ),
    "deep folders": (
        lambda f: write(f, "a/" * 33 + "x.py"), "ScriptInvalid", "lies more than 32 folders deep",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_no_code_is_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code, "MOST_FILES", 10)
    monkeypatch.setattr(code, "MOST_BYTES", 2 * 2**20)
    spoil, reason, words = FAULTS[name]
    spoil(tmp_path / "repo")
    with pytest.raises(StageFailure) as told:
        brought(CodeRef(uri=f"file://{tmp_path}/repo"), tmp_path / "pod")
    assert (told.value.reason, words in told.value.message) == (reason, True), told.value.message
    assert "\n" not in told.value.message


def test_a_file_that_becomes_a_link_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "repo/train.py", "secret")

    def swapped(ref: CodeRef) -> dict[str, Path]:
        (tmp_path / "repo/train.py").unlink()
        (tmp_path / "repo/train.py").symlink_to(tmp_path / "secret")
        return {"train.py": tmp_path / "repo/train.py"}

    monkeypatch.setattr(code, "files", swapped)
    with pytest.raises(StageFailure, match="cannot copy the code"):
        brought(CodeRef(uri=f"file://{tmp_path}/repo"), tmp_path / "pod")


def test_remote_code_is_measured_before_it_is_brought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"repo/train.py": 1, "repo/.git/pack": 10**12, "repo/lib/x.py": 1}
    asked: list[str] = []

    class Place:
        def find(self, path: str) -> dict[str, int]:
            return {name: size for name, size in there.items() if name.startswith(path)}

        def read(self, path: str, start: int, end: int) -> bytes:
            asked.append(path)
            return b"x"

    monkeypatch.setenv("TRAININGJOB_COPIES_DIR", str(tmp_path / "copies"))
    monkeypatch.setattr(copies, "connect", lambda uri: Place())
    ref = CodeRef(uri="s3://bucket/repo")
    assert brought(ref, tmp_path / "pod") == {"lib/x.py": "x", "train.py": "x"}
    assert sorted(asked) == ["repo/lib/x.py", "repo/train.py"]
    there["repo/weights.bin"] = 10**12
    with pytest.raises(StageFailure, match=r"the largest file is weights\.bin"):
        brought(ref, tmp_path / "again")
    assert len(asked) == 2


def test_a_program_with_the_line_ends_of_windows_is_told_from_one_that_is_not_there(
    tmp_path: Path,
) -> None:
    node = Node.from_env(1, 1, {"PATH": os.environ["PATH"]})
    files = {"run.sh": "#!/bin/sh\r\necho hi\r\n", "good.sh": "#!/bin/sh\necho hi\n"}

    def told(name: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        payload = OwnCode(code=CodeRef(inline=files), command=[f"./{name}"])
        cwd = own_code.write(payload, "train", folder)
        try:
            own_code.commands(payload, "train", node, cwd, Path("python"))
        except StageFailure as failure:
            return f"{failure.reason}: {failure.message}"
        return ""

    assert told("good.sh") == ""
    assert "CommandNotFound: there is no program ./absent.sh" in told("absent.sh")
    words = "ScriptInvalid: ./run.sh has the line ends of Windows, with which there is no program "
    assert told("run.sh") == f"{words}/bin/sh: save it with those of Unix"


# source -> words
NO_PYTHON: dict[str, tuple[bytes, str]] = {
    "of a notebook": (b"# In[1]:\n!pip install x\n", "in line 2, which is for a notebook: leave"),
    "of another encoding": (b"x = 'h\xe9'\n", "save it as UTF-8, or declare its encoding in the"),
    "of Python 2": (b"print 'x'\n", "Did you mean print(...)? in line 1"),
    "of tabs and blanks": (b"if 1:\n\tx\n        y\n", "inconsistent use of tabs and spaces"),
}


@pytest.mark.parametrize("name", NO_PYTHON)
def test_what_is_no_python_is_told_with_what_helps(name: str, tmp_path: Path) -> None:
    source, words = NO_PYTHON[name]
    (tmp_path / "map").write_bytes(source)
    payload = OwnCode(script=ScriptRef(path=str(tmp_path / "map")))
    with pytest.raises(StageFailure) as told:
        own_code.write(payload, "train", tmp_path)
    assert told.value.reason == "ScriptInvalid"
    assert words in told.value.message


@pytest.mark.parametrize(
    "source",
    [b"\xef\xbb\xbfx = 'h\xc3\xa9'\r\n", b"# -*- coding: latin-1 -*-\nx = 'h\xe9'\n"],
)
def test_marks_and_encodings_that_are_declared_are_python(source: bytes, tmp_path: Path) -> None:
    (tmp_path / "map").write_bytes(source)
    payload = OwnCode(script=ScriptRef(path=str(tmp_path / "map")))
    assert own_code.write(payload, "train", tmp_path) == tmp_path
    assert (tmp_path / "train.py").read_bytes() == source
