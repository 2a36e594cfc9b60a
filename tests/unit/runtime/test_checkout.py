"""Own code of a commit, from git's own server: what arrives, what is refused and in which words."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography import x509

from tests.git_server import (
    Answer,
    Server,
    blob,
    certificate_of,
    commit,
    git,
    repository,
    serving,
    tree,
)
from trainingjob.api.payload import CodeRef, GitRef
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.checkout import repository as fetching
from trainingjob.runtime.checkout import tree as checkout
from trainingjob.runtime.checkout.repository import Source
from trainingjob.runtime.storage import code

CODE = {"train.py": "print(1)\n", "lib/data.py": "x = 1\n", "lib/run.sh": "#!/bin/sh\n"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TRY_SECONDS", 0.2)
    monkeypatch.setattr(fetching, "_PAUSE_SECONDS", 0.05)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("git")
    repository(folder / "repo", CODE)
    return folder


@pytest.fixture
def server(root: Path) -> Iterator[Server]:
    with serving(root) as found:
        yield found


def head(root: Path) -> str:
    return git(root / "repo", "rev-parse", "main")


def fetched(
    server: Server, hash_: str, folder: Path, path: str | None = None, **given: str
) -> checkout.Written:
    """As the container does, in this process."""
    url = f"{server.url}/repo"
    for name in ("pack", "code"):
        (folder / name).mkdir()
    objects = fetching.fetch(Source(url, hash_, **given), folder / "pack")
    with ExitStack() as stack:
        stack.callback(objects.close)
        return checkout.write(objects, GitRef(url=url, commit=hash_, path=path), folder / "code")


def files(folder: Path) -> dict[str, str]:
    found = sorted(path for path in (folder / "code").rglob("*") if not path.is_dir())
    return {path.relative_to(folder / "code").as_posix(): path.read_text() for path in found}


def refused(server: Server, hash_: str, folder: Path, **given: str) -> StageFailure:
    with pytest.raises(StageFailure) as caught:
        fetched(server, hash_, folder, **given)
    return caught.value


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


# As the container: bounded, with the variables of the pod.
ALONE = """
import sys
from trainingjob.runtime import __main__, checkout
checkout._MEMORY, checkout._FETCH_SECONDS = int(sys.argv[1]), float(sys.argv[2])
sys.exit(__main__.main())
"""


def in_a_container(
    folder: Path, url: str, hash_: str, memory: int = 2**30, seconds: float = 300, **env: str
) -> tuple[int, str, str]:
    """Its exit code, its message, its log."""
    payload = f'{{"stage": "checkout", "git": {{"url": "{url}", "commit": "{hash_}"}}}}'
    (folder / "volume").mkdir(exist_ok=True)
    variables = (
        os.environ
        | env
        | {
            "TRAININGJOB_STAGE": payload,
            "TRAININGJOB_RESULT_FILE": str(folder / "message"),
            "TRAININGJOB_CODE_FILES": str(folder / "volume"),
            "TMPDIR": str(folder),
        }
    )
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(memory), str(seconds)],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    message = folder / "message"
    return (
        done.returncode,
        message.read_text() if message.exists() else "",
        done.stderr + done.stdout,
    )


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


# --- servers that do not give it ---------------------------------------------------------------


def test_credentials_are_asked_for_taken_and_refused(
    root: Path, server: Server, tmp_path: Path
) -> None:
    server.password = "hunter2"
    for name, given, words in (
        ("none", {}, "answers 401, so it wants credentials: set the keys password"),
        ("others", {"password": "wrong-one"}, "answers 401: it does not take the credentials"),
        ("another's", {"password": "hunter2", "username": "eve"}, "does not take the credentials"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        failure = refused(server, head(root), folder, **given)
        assert failure.reason == "RepositoryInvalid"
        assert words in failure.message
        assert "wrong-one" not in failure.message and "hunter2" not in failure.message
    (tmp_path / "good").mkdir()
    fetched(server, head(root), tmp_path / "good", password="hunter2")
    server.username = "ann"
    (tmp_path / "named").mkdir()
    fetched(server, head(root), tmp_path / "named", password="hunter2", username="ann")


HTML = {"Content-Type": "text/html; charset=utf-8"}
# What a server answers to the first request -> reason and words.
ANSWERS: dict[str, tuple[Answer, str, str]] = {
    "a page": ((200, HTML, b"<html>"), "RepositoryInvalid", "it answers with text/html"),
    "files alone": (
        (200, {"Content-Type": "text/plain"}, b"x\trefs/heads/main\n"),
        "RepositoryInvalid",
        "is no git repository by https: it answers with text/plain",
    ),
    "nothing of git's": (
        (200, {"Content-Type": fetching._LISTING}, b"<html>no</html>"),
        "RepositoryInvalid",
        "sends what is no commit of git",
    ),
    "404": ((404, HTML, b""), "RepositoryInvalid", "there is no such repository, or it is not for"),
    "403": ((403, HTML, b""), "RepositoryInvalid", "answers 403, so it wants credentials"),
    "400": ((400, HTML, b""), "RepositoryInvalid", "answers 400: is it the URL that `git clone`"),
    "503": ((503, HTML, b""), "RepositoryUnreachable", "cannot fetch"),
    "429": ((429, HTML, b""), "RepositoryUnreachable", "answers 429"),
    "another host": (
        (302, {"Location": "https://elsewhere.example/x/repo/info/refs?token=s3cret"}, b""),
        "RepositoryInvalid",
        "leads to https://elsewhere.example/x/repo/info/refs: give that URL",
    ),
    "a circle": ((302, {"Location": "?"}, b""), "RepositoryInvalid", "answers 302"),
    "cut short": (
        (200, {"Content-Type": fetching._LISTING}, b"001e# service=git-upload-pack\n0000"),
        "RepositoryUnreachable",
        "its answer is not whole",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_none(name: str, root: Path, server: Server, tmp_path: Path) -> None:
    answer, reason, words = ANSWERS[name]
    server.answer = lambda path, count: answer
    began = time.monotonic()
    failure = refused(server, head(root), tmp_path, password="hunter2" if "host" in name else "")
    assert (failure.reason, words in failure.message) == (reason, True), failure.message
    assert "s3cret" not in failure.message
    assert time.monotonic() - began < 10
    if name == "another host":
        assert len(server.requests) == 1


def test_a_server_that_is_away_for_a_moment_is_asked_again(
    root: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TRY_SECONDS", 20.0)
    later = {"Retry-After": "1"}
    server.answer = lambda path, count: (429 + 74 * (count % 2), later, b"") if count < 3 else None
    began = time.monotonic()
    assert fetched(server, head(root), tmp_path).files == 3
    assert time.monotonic() - began > 2.0, "as long as it has said, each time"


def test_a_server_that_wants_more_time_than_there_is_is_not_waited_for(
    root: Path, server: Server, tmp_path: Path
) -> None:
    server.answer = lambda path, count: (429, {"Retry-After": "3600"}, b"")
    failure = refused(server, head(root), tmp_path)
    assert (failure.reason, len(server.requests)) == ("RepositoryUnreachable", 1)


def test_a_repository_that_has_moved_on_its_host_is_found(
    root: Path, server: Server, tmp_path: Path
) -> None:
    def moved(path: str, count: int) -> Answer | None:
        new = path.replace("/repo/", "/renamed/")
        return (301, {"Location": new}, b"") if path.startswith("/repo/") else None

    server.answer = moved
    (root / "renamed").symlink_to("repo")
    server.password = "hunter2"
    assert fetched(server, head(root), tmp_path, password="hunter2").files == 3


def test_a_proxy_that_the_variables_name_is_the_way(
    root: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    real, server.url = server.url, "http://git.invalid"
    (tmp_path / "by-it").mkdir()
    assert fetched(server, head(root), tmp_path / "by-it").files == 3
    assert all(path.startswith("http://git.invalid/repo/") for path, _ in server.requests)
    monkeypatch.setenv("no_proxy", "localhost")
    server.url = real
    (tmp_path / "past-it").mkdir()
    fetched(server, head(root), tmp_path / "past-it")
    assert server.requests[-1][0].startswith("/repo/")


def test_a_proxy_is_named_as_for_git(
    root: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a user, and without http://."""
    monkeypatch.setenv("all_proxy", server.url.removeprefix("http://"))
    server.url = "http://git.invalid"
    assert fetched(server, head(root), tmp_path).files == 3
    pool = fetching._through("http://me:p%40ss@proxy:3128", ssl.create_default_context())
    assert pool.proxy_headers == {"proxy-authorization": f"Basic {b64encode(b'me:p@ss').decode()}"}


@pytest.mark.parametrize("proxy", ["socks5://me:hunter2@proxy:1080", "http://proxy:nine"])
def test_a_proxy_of_another_kind_is_told_without_its_password(
    root: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    server.url = "http://git.invalid"
    failure = refused(server, head(root), tmp_path)
    assert failure.reason == "RepositoryInvalid"
    assert "is none of http or https" in failure.message and "hunter2" not in failure.message


def test_a_port_that_there_is_not(root: Path, server: Server, tmp_path: Path) -> None:
    server.url = "http://localhost:99999"
    failure = refused(server, head(root), tmp_path)
    assert failure.reason == "RepositoryInvalid"
    assert failure.message.endswith("has a port beyond 65535")


def test_a_password_of_a_file_ends_with_the_line(
    root: Path, server: Server, tmp_path: Path
) -> None:
    server.password = "hunter2"
    assert fetched(server, head(root), tmp_path, password="hunter2\n").files == 3


def test_nobody_at_the_address(root: Path, tmp_path: Path) -> None:
    with serving(root) as gone:
        pass
    failure = refused(gone, head(root), tmp_path)
    assert failure.reason == "RepositoryUnreachable"
    assert "Connection refused" in failure.message


def test_a_server_that_is_slow_has_its_time(root: Path, server: Server, tmp_path: Path) -> None:
    """Which is over also while it says nothing at all."""
    over = threading.Event()

    def slowly(path: str, count: int) -> Answer | None:
        over.wait(20)
        return None

    server.answer = slowly
    begun = time.monotonic()
    code_, message, said = in_a_container(tmp_path, f"{server.url}/repo", head(root), seconds=0.5)
    took = time.monotonic() - begun
    over.set()
    assert code_ == 1, said
    assert "RepositoryUnreachable" in message and "has not sent all within" in message
    assert took < 15, "and not what the server takes"


def test_a_server_that_says_nothing_more(
    root: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_IDLE_SECONDS", 0.2)
    waiting = threading.Event()

    def never(path: str, count: int) -> Answer | None:
        waiting.wait(3)
        return None

    server.answer = never
    failure = refused(server, head(root), tmp_path)
    waiting.set()
    assert failure.reason == "RepositoryUnreachable"
    assert "timed out" in failure.message


# --- TLS ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate_of(tmp_path_factory.mktemp("tls"), x509.DNSName("localhost"))


def test_a_certificate_is_checked_and_an_authority_can_be_given(
    root: Path, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    with serving(root, certificate) as server:
        for name, given, words in (
            ("unknown", {}, "has a certificate that nobody vouches for (self-signed"),
            ("no PEM", {"authority": "x"}, "is no certificate in PEM"),
        ):
            folder = tmp_path / name
            folder.mkdir()
            failure = refused(server, head(root), folder, **given)
            assert failure.reason == "RepositoryInvalid"
            assert words in failure.message.replace("self signed", "self-signed"), failure.message
        (tmp_path / "known").mkdir()
        authority = certificate[0].read_text()
        assert fetched(server, head(root), tmp_path / "known", authority=authority).files == 3
        # That name alone.
        server.url = server.url.replace("localhost", "127.0.0.1")
        (tmp_path / "other").mkdir()
        failure = refused(server, head(root), tmp_path / "other", authority=authority)
        assert "nobody vouches for" in failure.message
