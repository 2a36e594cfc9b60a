"""What a node needs: it is installed, or its lack is an error that says what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.build import ROOT
from tests.cluster.node import cgroups, packages
from tests.cluster.node.errors import NodeError
from tests.cluster.node.storage import Storage

APT = """#!/bin/sh
echo "$@" >> {log}
case "$*" in *install*) {install} ;; esac
"""


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without anything that a node needs, and the folder of its programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(packages, "PATH", f"{folder}")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(packages, "BUSYBOX", folder / "busybox")
    monkeypatch.setattr(packages, "CNI_FOLDERS", (folder / "cni",))
    return folder


def install_apt(folder: Path, install: str) -> Path:
    log = folder / "apt.log"
    path = folder / "apt-get"
    path.write_text(APT.format(log=log, install=install), encoding="utf-8")
    path.chmod(0o755)
    return log


def everything(folder: Path) -> str:
    """A shell command that makes all programs appear."""
    names = " ".join(f"{folder}/{name}" for name in [*packages.PROGRAMS, "busybox"])
    plugins = " ".join(f"{folder}/cni/{name}" for name in packages.CNI_PLUGINS)
    return f"mkdir {folder}/cni; touch {names} {plugins}; chmod +x {names}"


def test_what_is_missing_is_installed_with_one_update(bare):
    log = install_apt(bare, everything(bare))
    wanted = packages.missing()
    packages.install()
    update, install = log.read_text().splitlines()
    assert update.endswith("update")
    assert install.split()[-len(wanted) :] == wanted
    assert {"containerd", "runc", "buildah", "busybox-static"} <= set(wanted)
    packages.install()
    assert len(log.read_text().splitlines()) == 2, "nothing is missing any more"


REFUSALS = {  # what apt-get does instead, and what is said
    "there is no such package": (
        "echo 'E: Unable to locate package runc' >&2; exit 100",
        "apt-get install failed: E: Unable to locate package runc",
    ),
    "it works, but nothing comes": (":", "still missing after apt-get install: buildah, busybox"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_it_is_an_error_when_apt_fails_because(case, bare):
    install, told = REFUSALS[case]
    install_apt(bare, install)
    with pytest.raises(NodeError, match=told):
        packages.install()


def test_without_apt_the_missing_packages_are_named(bare):
    with pytest.raises(NodeError, match=r"install buildah, .*containerd, .*runc.* first"):
        packages.install()


def test_a_busybox_that_needs_libraries_does_not_count(bare):
    (bare / "busybox").write_bytes(b"\x7fELF.../lib64/ld-linux-x86-64.so.2")
    assert "busybox-static" in packages.missing()


def test_without_cgroups_there_is_no_node(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups, "TOP", tmp_path)
    with pytest.raises(NodeError, match="no cgroups"):
        cgroups.make("trainingjob-node-test")


def as_somebody(program: str) -> subprocess.CompletedProcess[str]:
    """Run Python that takes itself for an ordinary user."""
    program = f"import os; os.geteuid = lambda: 1; {program}"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("module", ["tests.cluster.node", "tests.cluster.node.images"])
def test_without_root_a_command_fails_and_says_so(module):
    done = as_somebody(f"import runpy; runpy.run_module({module!r}, run_name='__main__')")
    assert done.returncode == 1
    assert done.stderr.startswith("error: a node needs root")


def test_without_root_the_tests_of_the_node_fail_and_none_is_skipped():
    tests = ["-q", "-p", "no:cacheprovider", "tests/e2e/test_node.py", "-k", "no_way_out"]
    done = as_somebody(f"import pytest, sys; sys.exit(pytest.main({tests!r}))")
    assert done.returncode == 1
    assert "a node needs root" in done.stdout
    assert "1 error" in done.stdout
    assert "skipped" not in done.stdout


def test_a_second_node_in_the_same_storage_is_refused(tmp_path):
    storage = Storage(tmp_path)
    told = r"the node of process \d+ works in"
    with storage.running(), pytest.raises(NodeError, match=told), storage.running():
        pass
