"""Own code of a commit, from servers that do not give it, and by TLS."""

from __future__ import annotations

import ssl
import threading
import time
from base64 import b64encode
from pathlib import Path

import pytest
from cryptography import x509

from tests.git_server import (
    Answer,
    Server,
    certificate_of,
    serving,
)
from trainingjob.runtime.checkout import repository as fetching

from .checkouts import fetched, head, in_a_container, refused

pytestmark = pytest.mark.usefixtures("quick")


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
