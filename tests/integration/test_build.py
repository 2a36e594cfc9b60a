"""The build of the control plane: once, only when needed, silent about where things come from."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster import build

# Installs what it is told to as empty files, and writes down each time that it does.
GO = """#!/bin/sh
if [ "$1" = env ]; then echo {version}; exit; fi
echo built >> {log}
{then}
sleep 0.3
for name in {names}; do : > "$GOBIN/$name"; done
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The build with a folder, sources and a `go` of its own."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("go.mod", "go.sum"):
        shutil.copy(build.CONTROL_PLANE.folder / name, source)
    cache = tmp_path / "cache"
    for name, path in {
        "ROOT": tmp_path,
        "CONTROL_PLANE": build.Module(source, cache / ".built", build.CONTROL_PLANE.own),
        "CACHE": cache,
        "BIN": cache / "bin",
    }.items():
        monkeypatch.setattr(build, name, path)
    monkeypatch.setenv("PATH", f"{tmp_path}/go:/usr/bin:/bin")
    return tmp_path


def install_go(folder: Path, version: str = "go1.26.0", then: str = "") -> Path:
    names = ["server" if name == "etcd" else name for name in build.CONTROL_PLANE.binaries()]
    path = folder / "go/go"
    path.parent.mkdir(parents=True)
    log = folder / "log"
    log.touch()
    text = GO.format(version=version, log=log, then=then, names=" ".join(names))
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return log


def test_nothing_is_done_when_all_is_built():
    build.build()
    command = [sys.executable, "-m", "tests.cluster.build"]
    begun = time.monotonic()
    done = subprocess.run(command, cwd=build.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""
    # 0.05 s on a quiet machine; a build takes at least ten.
    assert time.monotonic() - begun < 2


def test_of_two_callers_one_builds_and_the_other_waits(elsewhere):
    log = install_go(elsewhere)
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(build.build) for _ in range(2)]:
            future.result()
    assert log.read_text() == "built\n"
    assert sorted(path.name for path in build.BIN.iterdir()) == build.CONTROL_PLANE.binaries()


@pytest.mark.parametrize("change", ["go.mod", "go.sum", "a flag", "a binary is missing", "nothing"])
def test_it_is_built_anew_when_the_result_could_be_another(change, elsewhere, monkeypatch):
    log = install_go(elsewhere)
    build.build()
    if change.startswith("go."):
        with (build.CONTROL_PLANE.folder / change).open("a") as file:
            file.write("\n")
    elif change == "a flag":
        monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-v"))
    elif change == "a binary is missing":
        (build.BIN / "etcd").unlink()
    build.build()
    assert log.read_text().count("built") == (1 if change == "nothing" else 2)


def test_a_failure_is_one_line_without_addresses(elsewhere, capsys):
    told = (
        'go: k8s.io/api@v0.36.3: Get "https://user:secret@mirror.example:8080/k8s.io/api.mod": '
        "dial tcp: lookup mirror.example on 192.0.2.7:53: no such host"
    )
    install_go(elsewhere, then=f"echo 'go: downloading x' >&2; echo '{told}' >&2; exit 1")
    assert build.main() == 1
    error = capsys.readouterr().err
    assert error.startswith("error: go install failed: go: k8s.io/api@v0.36.3: Get")
    assert error.count("\n") == 1
    for secret in ("mirror", "secret", "192.0.2.7"):
        assert secret not in error
    assert not build.CONTROL_PLANE.built()


def test_a_go_that_is_too_old_is_replaced_by_pypis(elsewhere, monkeypatch):
    log = install_go(elsewhere, version="go1.25.9")
    installed = install_pypi(elsewhere, monkeypatch)
    build.build()
    assert installed == ["go.txt"]
    assert log.read_text() == ""
    assert build.CONTROL_PLANE.built()


def install_pypi(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An installer that writes down which requirements it is asked for, and brings a new `go`."""
    asked: list[str] = []
    run = build._run

    def install(command, *args, **kwargs):
        if "--require-hashes" not in command:
            return run(command, *args, **kwargs)
        asked.append(Path(command[-1]).name)
        target = Path(command[command.index("--target") + 1])
        install_go(target)
        (target / "go/bin").mkdir()
        (target / "go/go").rename(target / "go/bin/go")
        return ""

    monkeypatch.setattr(build, "_run", install)
    return asked
