"""Own code of a commit, from git's own server: what arrives, what is refused and in which words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.git_server import (
    Server,
    blob,
    commit,
    git,
    serving,
    tree,
)
from trainingjob.api.payload import CodeRef, GitRef
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.checkout import repository as fetching
from trainingjob.runtime.checkout import tree as checkout
from trainingjob.runtime.checkout.repository import Source
from trainingjob.runtime.storage import code

from .checkouts import CODE, fetched, files, head, in_a_container, refused

pytestmark = pytest.mark.usefixtures("quick")


# --- what arrives ------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["2", "no other"])
def test_the_files_of_a_commit_arrive_whatever_came_after_it(
    protocol: str, root: Path, server: Server, tmp_path: Path
) -> None:
    server.protocol = protocol
    before = head(root)
    commit(root / "repo", {"train.py": f"print('{protocol}')\n"})
    written = fetched(server, before, tmp_path)
    assert files(tmp_path) == {
        name: git(root / "repo", "show", f"{before}:{name}") + "\n" for name in CODE
    }
    assert (written.files, written.notes) == (3, [])
    # A commit without its history: one pack, of the one request for it.
    assert [path.partition("?")[0] for path, _ in server.requests][-1] == "/repo/git-upload-pack"


def test_only_the_folder_that_is_named_is_the_code(
    root: Path, server: Server, tmp_path: Path
) -> None:
    fetched(server, head(root), tmp_path, "lib")
    assert [*files(tmp_path)] == ["data.py", "run.sh"]


@pytest.mark.parametrize("path", ["src", "lib/none", "train.py/x"])
def test_a_folder_that_is_not_there_is_told_with_those_that_are(
    path: str, root: Path, server: Server, tmp_path: Path
) -> None:
    with pytest.raises(StageFailure) as caught:
        fetched(server, head(root), tmp_path, path)
    assert caught.value.reason == "ScriptMissing"
    assert f"has no folder {path}; it has lib, train.py" in caught.value.message


def test_a_file_is_no_folder(root: Path, server: Server, tmp_path: Path) -> None:
    with pytest.raises(StageFailure, match="is a file, and code is a folder"):
        fetched(server, head(root), tmp_path, "train.py")


def test_links_inside_become_copies_and_are_told(
    root: Path, server: Server, tmp_path: Path
) -> None:
    made = root / "links"
    made.mkdir()
    git(made, "init", "--quiet", "--initial-branch=main")
    (made / "code").mkdir()
    (made / "code/shared").symlink_to("../lib")
    (made / "code/one.py").symlink_to("shared/a.py")
    hash_ = commit(made, {"lib/a.py": "a\n", "code/train.py": "t\n"})
    url = f"{server.url}/links"
    for name in ("pack", "code"):
        (tmp_path / name).mkdir()
    objects = fetching.fetch(Source(url, hash_), tmp_path / "pack")
    written = checkout.write(objects, GitRef(url=url, commit=hash_, path="code"), tmp_path / "code")
    objects.close()
    assert files(tmp_path) == {"one.py": "a\n", "shared/a.py": "a\n", "train.py": "t\n"}
    assert not any(path.is_symlink() for path in (tmp_path / "code").rglob("*"))
    assert written.notes == ["one.py, shared: in place of links there are copies"]


def test_submodules_and_pointers_of_lfs_are_told(
    root: Path, server: Server, tmp_path: Path
) -> None:
    made = root / "repo"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
    entries = [
        ("100644", b"big.bin", blob(made, pointer)),
        ("160000", b"mod\n\x1b[31mule", head(root)),
        ("100644", b"train.py", blob(made, b"pass\n")),
    ]
    hash_ = tree(made, entries)
    volume = tmp_path / "volume"
    (volume / code.TREE).mkdir(parents=True)
    url = f"{server.url}/repo"
    (tmp_path / "pack").mkdir()
    ref = GitRef(url=url, commit=hash_)
    objects = fetching.fetch(Source(url, hash_), tmp_path / "pack")
    written = checkout.write(objects, ref, volume / code.TREE)
    objects.close()
    (volume / code.NOTES).write_text("\n".join(written.notes))
    (tmp_path / "copy").mkdir()
    total = code.bring(CodeRef(path=str(volume), git=ref), tmp_path / "copy")
    assert (total.files, len(total.notes)) == (2, 2)
    assert (
        total.notes[0]
        == r"mod\u000a\u001b[31mule: submodules are not fetched: their folders are empty"
    )
    assert total.notes[1].startswith("big.bin: of Git LFS there is the pointer, and not the file")


# --- what is refused ---------------------------------------------------------------------------


def test_a_commit_that_is_nowhere_is_told_at_once(
    root: Path, server: Server, tmp_path: Path
) -> None:
    for protocol in ("2", "no other"):
        server.protocol = protocol
        folder = tmp_path / protocol
        folder.mkdir()
        failure = refused(server, "a" * 40, folder)
        assert failure.reason == "RepositoryInvalid"
        assert f"/repo has no commit {'a' * 40}, or none of its branches" in failure.message


def test_a_commit_that_no_branch_has(root: Path, server: Server, tmp_path: Path) -> None:
    """Of a server of the older protocol; a newer one of git's own gives all that it has."""
    lost = git(root / "repo", "commit-tree", f"{head(root)}^{{tree}}", "-m", "lost")
    server.protocol = "no other"
    failure = refused(server, lost, tmp_path)
    assert "none of its branches and tags has it: push it" in failure.message


def test_a_tag_is_no_commit_and_its_commit_is_told(
    root: Path, server: Server, tmp_path: Path
) -> None:
    git(root / "repo", "tag", "--annotate", "v1", "--message", "x", head(root))
    tag = git(root / "repo", "rev-parse", "v1")
    failure = refused(server, tag, tmp_path)
    assert f"is a tag: give the commit, {head(root)}" in failure.message


LINKS = {
    "/etc/passwd": "absolute",
    "../outside": "out of the repository",
    "lib/../../outside": "out of it on a way",
    "nowhere": "to nothing",
    "link": "to itself",
}


@pytest.mark.parametrize("target", LINKS, ids=LINKS.values())
def test_a_link_that_leads_elsewhere_is_refused(
    target: str, root: Path, server: Server, tmp_path: Path
) -> None:
    made = root / "repo"
    lib = git(made, "rev-parse", "main:lib")
    entries = [
        ("40000", b"lib", lib),
        ("120000", b"link", blob(made, target.encode())),
        ("100644", b"train.py", blob(made, b"pass\n")),
    ]
    hash_ = tree(made, entries)
    failure = refused(server, hash_, tmp_path)
    assert failure.reason == "ScriptInvalid"
    assert f"is a link to {target}, which the repository does not have" in failure.message
    # Where the link is not part of the code, nobody minds.
    (tmp_path / "lib").mkdir()
    assert fetched(server, hash_, tmp_path / "lib", "lib").files == 2


def _in_a_circle(made: Path) -> str:
    own = made / "circle"
    own.mkdir(exist_ok=True)
    (own / "again").unlink(missing_ok=True)
    (own / "again").symlink_to("../circle")
    hash_ = commit(made, {"circle/a.py": "a"})
    git(made, "rm", "-r", "--quiet", "circle")
    commit(made, {})
    return hash_


# A repository that means harm -> its words.
HOSTILE: dict[str, tuple[Callable[[Path], str], str, str]] = {
    "a file above": (
        lambda made: tree(made, [("100644", b"../x", blob(made, b"x"))]),
        "RepositoryInvalid",
        "a file is called '../x', which may be harmful",
    ),
    "a folder above": (
        lambda made: tree(made, [("40000", b"..", git(made, "rev-parse", "main:lib"))]),
        "RepositoryInvalid",
        "a file is called '..', which may be harmful",
    ),
    "settings of git's": (
        lambda made: tree(made, [("40000", b".GIT", git(made, "rev-parse", "main:lib"))]),
        "RepositoryInvalid",
        "a file is called '.GIT', which may be harmful",
    ),
    "no text": (
        lambda made: tree(made, [("100644", b"\xff\xfe", blob(made, b"x"))]),
        "RepositoryInvalid",
        "which may be harmful",
    ),
    "two of one name": (
        lambda made: tree(
            made,
            [
                ("120000", b"x", blob(made, b"lib")),
                ("40000", b"x", git(made, "rev-parse", "main:lib")),
            ],
        ),
        "RepositoryInvalid",
        "there are two files 'x' in one folder",
    ),
    "a file that is a folder": (
        lambda made: tree(made, [("100644", b"x", git(made, "rev-parse", "main:lib"))]),
        "RepositoryInvalid",
        "is a tree and no file",
    ),
    "folders without end": (_in_a_circle, "ScriptInvalid", "lies more than 32 folders deep"),
    "files without number": (
        lambda made: tree(made, [("100644", b"%06d" % n, blob_of(made)) for n in range(100_000)]),
        "ScriptInvalid",
        "more than 20000 files in one folder",
    ),
}


def blob_of(made: Path, known: dict[Path, str] = {}) -> str:  # noqa: B006 - once
    if made not in known:
        known[made] = blob(made, b"x")
    return known[made]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_repository_that_means_harm(
    name: str, root: Path, server: Server, tmp_path: Path
) -> None:
    make, reason, words = HOSTILE[name]
    failure = refused(server, make(root / "repo"), tmp_path)
    assert failure.reason == reason
    assert words in failure.message
    outside = [p for p in tmp_path.rglob("*") if p.name in ("x", "config") and "code" not in str(p)]
    assert outside == []


def test_many_small_files_are_too_much(
    root: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkout, "MOST_FILES", 2)
    failure = refused(server, head(root), tmp_path)
    assert (failure.reason, "more than 2 files" in failure.message) == ("ScriptInvalid", True)


def test_more_bytes_or_objects_than_are_taken(
    root: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, most, words in (
        ("MOST_BYTES", 100, "sends more than"),
        ("MOST_OBJECTS", 2, "objects"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(fetching, name, most)
            failure = refused(server, head(root), folder)
        assert (failure.reason, words in failure.message) == ("RepositoryInvalid", True)


def test_the_container_leaves_the_files_and_nothing_else(
    root: Path, server: Server, tmp_path: Path
) -> None:
    server.password = "hunter2"
    code_, message, said = in_a_container(
        tmp_path, f"{server.url}/repo", head(root), TRAININGJOB_GIT_PASSWORD="hunter2"
    )
    assert (code_, message) == (0, ""), said
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.iterdir())
    assert left == ["volume"]
    assert (tmp_path / "volume/tree/train.py").is_file()
    assert "hunter2" not in said

    # A kubelet starts it once more in the same pod, as after its node's restart.
    (tmp_path / "volume/tree/stray").touch()
    code_, message, said = in_a_container(
        tmp_path, f"{server.url}/repo", head(root), TRAININGJOB_GIT_PASSWORD="hunter2"
    )
    assert (code_, (tmp_path / "volume/tree/stray").exists()) == (0, False), said


def test_what_unpacks_to_more_than_there_is_ends_in_words(root: Path, tmp_path: Path) -> None:
    """96 MiB of zeros in 96 KB, as an object of a pack."""
    made = root / "repo"
    hash_ = tree(made, [("100644", b"x", blob(made, bytes(96 * 2**20)))])
    with serving(root) as server:
        code_, message, said = in_a_container(tmp_path, f"{server.url}/repo", hash_, memory=2**26)
    assert code_ == 1, said
    assert "RepositoryInvalid" in message
    assert "takes more than 64 MiB of memory to unpack" in message
    assert len(message) < 600
