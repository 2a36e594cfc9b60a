"""Folders to which others write: what a link leads to is not in them, and nothing waits for what
never ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trainingjob.runtime import storage
from trainingjob.runtime.base.digest import digest_of_folder
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.base.within import content, files_in, opened
from trainingjob.runtime.dataset.tokens import tokenizer_files
from trainingjob.runtime.gang import packages
from trainingjob.runtime.model import accepted
from trainingjob.runtime.storage.ownership import MARKER, is_ours
from trainingjob.runtime.train import word

SECRET = "of this pod alone"


@pytest.fixture
def claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As a pod has them; beside them what is the pod's."""
    folder = tmp_path / "claims"
    (folder / "runs/a/model").mkdir(parents=True)
    (tmp_path / "pod").mkdir()
    (tmp_path / "pod/token").write_text(SECRET)
    monkeypatch.setenv("TRAININGJOB_CLAIMS_DIR", str(folder))
    return folder


def test_a_link_is_of_a_folder_if_it_leads_to_a_file_in_it(claims: Path) -> None:
    model = claims / "runs/a/model"
    (model / "b").mkdir()
    (model / "b/weights").write_text("w")
    plain = digest_of_folder(model)
    (model / "out").symlink_to(claims.parent / "pod/token")
    (model / "proc").symlink_to("/proc/self/environ")
    (model / "gone").symlink_to(model / "nothing")
    (model / "folder").symlink_to(claims.parent / "pod")
    (model / "round").symlink_to(model / "round")
    os.mkfifo(model / "pipe")
    assert files_in(model) == ["b/weights"]
    assert digest_of_folder(model) == plain
    (model / "in").symlink_to("b/weights")
    assert files_in(model) == ["b/weights", "in"]
    assert digest_of_folder(model) != plain


def test_a_copy_of_a_folder_has_nothing_that_lies_elsewhere(claims: Path, tmp_path: Path) -> None:
    model = claims / "runs/a/model"
    (model / "weights").write_text("w")
    (model / "in").symlink_to("weights")
    (model / "out").symlink_to(tmp_path / "pod/token")
    storage.copy(model, tmp_path / "copy")
    assert {one.name: one.read_text() for one in (tmp_path / "copy").iterdir()} == {
        "weights": "w",
        "in": "w",
    }
    assert not (tmp_path / "copy/in").is_symlink()


def test_nor_when_the_folder_itself_is_a_link_now(claims: Path, tmp_path: Path) -> None:
    (claims / "runs/a/model").rmdir()
    (claims / "runs/a/model").symlink_to(tmp_path / "pod")
    with pytest.raises(StageFailure, match="leads out of its folder"):
        storage.copy(claims / "runs/a/model", tmp_path / "copy")
    assert SECRET not in "".join(one.read_text() for one in (tmp_path / "copy").rglob("*"))


def test_what_came_in_a_files_place_a_moment_ago_is_not_read(claims: Path, tmp_path: Path) -> None:
    model = claims / "runs/a/model"
    (model / "weights").symlink_to(tmp_path / "pod/token")
    with pytest.raises(ValueError, match="leads out of its folder"):
        opened(model / "weights", model)
    with opened(model / "weights") as file:
        assert file.read() == SECRET.encode()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def without_an_end(path: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    """Of a terabyte, which takes no room on a disk."""
    with path.open("wb") as file:
        file.truncate(2**40)


@pytest.mark.parametrize("plant", [pipe, without_an_end, huge])
def test_small_files_are_read_to_their_bound(claims: Path, plant: Callable[[Path], None]) -> None:
    """By whoever reads records from where other jobs may write; none hangs, or takes the memory."""
    run = claims / "runs/a"
    for name in ("file", accepted.RECORD, packages.WHEELS, MARKER):
        plant(run / name)
    with pytest.raises(ValueError, match=r"no plain file|has more than 10 bytes"):
        content(run / "file", 10)
    assert word.read("pvc://runs/a/file", word.Word) is None
    with pytest.raises(StageFailure, match="is damaged or of another version"):
        accepted.read("pvc://runs/a")
    assert packages._kept("pvc://runs/a", frozenset()) is None
    assert packages._folder_of("pvc://runs/a") is None
    assert not is_ours(run, "1")


def test_a_tokenizers_template_is_no_link_to_what_the_pod_has(claims: Path) -> None:
    place = claims / "runs/a/model"
    (place / "tokenizer.json").write_text("{}")
    (place / "chat_template.jinja").symlink_to(claims.parent / "pod/token")
    with pytest.raises(StageFailure, match=r"chat_template.jinja is a link that leads out of the"):
        tokenizer_files("pvc://runs/a/model", chat=True)
