"""S3 on a bad day: a server out of breath, lines that are cut, nobody at home."""

from __future__ import annotations

import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from trainingjob.api.uris import Uri
from trainingjob.runtime import storage
from trainingjob.runtime.base.errors import StageFailure
from trainingjob.runtime.storage import streams
from trainingjob.runtime.storage.remote import _connected, connect

MIB = 2**20
DATA = random.Random(5).randbytes(40 * MIB)
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>"


class Server(ThreadingHTTPServer):
    """One object, ``bucket/x``. ``faults``: what becomes of the next requests for its bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.faults: list[str] = []
        self.refuses: tuple[int, str] | None = None  # every request, so
        self.put: list[bytes] = []  # what was written
        self.sent = 0
        self.lock = threading.Lock()


class Answer(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        # Of what is wrong, S3 has no words here.
        self._begin(self.server.refuses[0] if self.server.refuses else 200, len(DATA))

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.refuses:
            self._refuse()
            return
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault.isdigit():
            self._begin(int(fault), len(SLOW_DOWN))
            self.wfile.write(SLOW_DOWN)
            return
        self.server.put.append(data)
        if fault == "lost":  # it is written, and nobody hears of it
            self.close_connection = True
            return
        self._begin(200, 0)

    def _refuse(self) -> None:
        assert self.server.refuses is not None
        status, code = self.server.refuses
        said = f"<Error><Code>{code}</Code><Message>of the server</Message></Error>".encode()
        self._begin(status, len(said))
        self.wfile.write(said)

    def do_GET(self) -> None:
        if self.server.refuses:
            self._refuse()
            return
        with self.server.lock:
            fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault.isdigit():
            self._begin(int(fault), len(SLOW_DOWN))
            self.wfile.write(SLOW_DOWN)
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert asked is not None
        start, end = int(asked[1]), int(asked[2]) + 1
        self._begin(206, end - start, f"bytes {start}-{end - 1}/{len(DATA)}")
        part = DATA[start : start + MIB if fault == "cut" else end]
        with self.server.lock:
            self.server.sent += len(part)
        self.wfile.write(part)
        self.close_connection = True

    def _begin(self, status: int, length: int, part: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("Last-Modified", "Sat, 28 Nov 2026 12:00:00 GMT")
        self.send_header("ETag", '"1"')
        if part:
            self.send_header("Content-Range", part)
        self.end_headers()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{made.server_port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("TRAININGJOB_COPIES_DIR", str(tmp_path))
        monkeypatch.setattr(streams, "_WAITS", (0.01,))
        _connected.cache_clear()
        yield made
        _connected.cache_clear()
        made.shutdown()


@pytest.mark.parametrize(
    ("what", "faults"),
    [
        ("nothing", []),
        ("a burst of slow-downs", ["503"] * 4),
        ("errors of the server", ["500", "502", "500"]),
        ("a line that is cut in the second piece", ["", "cut"]),
        ("lines that are cut, again and again", ["cut", "", "cut", "503", "cut"]),
    ],
)
def test_what_passes_by_itself_is_waited_for(server: Server, what: str, faults: list[str]) -> None:
    server.faults = [*faults]
    assert storage.fetch("s3://bucket/x").read_bytes() == DATA
    assert not server.faults
    cuts = faults.count("cut")
    assert server.sent <= len(DATA) + cuts * MIB, "gone on with, not begun anew"


@pytest.mark.parametrize(
    ("what", "faults", "times"),
    [
        ("a burst of slow-downs", ["503"] * 4, 1),
        ("errors of the server", ["500", "502", "503"], 1),
        ("an answer that is lost", ["lost"], 2),
        ("an answer that is lost after an error", ["500", "lost"], 2),
    ],
)
def test_what_passes_by_itself_is_written_all_the_same(
    server: Server, tmp_path: Path, what: str, faults: list[str], times: int
) -> None:
    server.faults = [*faults]
    (tmp_path / "one").write_bytes(DATA[:MIB])
    connect(Uri.parse("s3://bucket/x")).put(tmp_path / "one", "x")
    assert not server.faults
    assert server.put == [DATA[:MIB]] * times, "whole, and the same"


def test_a_stream_goes_on_where_its_line_was_cut(server: Server) -> None:
    place = storage.resolve("s3://bucket/x")
    file = storage.source(place, len(DATA))
    assert isinstance(file, storage.RemoteFile)
    server.faults = ["cut", "500", "cut"]
    file.hold([(5, 9), (MIB, 30 * MIB)])
    server.faults = ["cut"]
    file.seek(MIB)
    assert file.read(29 * MIB) == DATA[MIB : 30 * MIB]
    assert server.faults, "what is held is not asked for again"
    assert file.read(10) == DATA[30 * MIB : 30 * MIB + 10]
    assert not list(place.parent.parent.rglob("x"))


def test_what_does_not_pass_is_told_and_leaves_no_half_of_a_file(
    server: Server, tmp_path: Path
) -> None:
    server.faults = ["cut"] * 100
    began = time.monotonic()
    with pytest.raises(StageFailure) as error:
        storage.fetch("s3://bucket/x")
    assert error.value.reason == "StorageFailed"
    assert error.value.message.startswith("s3://bucket/x: ")
    assert "\n" not in error.value.message
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "AccessDenied", "access is denied: check the credentials"),
        (403, "SignatureDoesNotMatch", "the secret key is wrong"),
        (403, "InvalidAccessKeyId", "the access key does not exist"),
        (403, "RequestTimeTooSkewed", "the clock of this machine is wrong by too much"),
        (400, "ExpiredToken", "the credentials have expired"),
        (400, "InvalidToken", "the credentials are not valid"),
        (404, "NoSuchBucket", "there is no such bucket"),
        (301, "PermanentRedirect", "the bucket is in another region: set AWS_REGION"),
    ],
)
@pytest.mark.parametrize("how", ["whether it is there", "reading", "writing"])
def test_what_s3_refuses_is_told_at_once_whatever_was_asked(
    server: Server, tmp_path: Path, how: str, status: int, code: str, words: str
) -> None:
    server.refuses = status, code
    bucket = connect(Uri.parse("s3://bucket/x"))
    (tmp_path / "x").write_bytes(b"1")
    began = time.monotonic()
    with pytest.raises(StageFailure) as error:
        match how:
            case "whether it is there":
                bucket.find("x")
            case "reading":
                bucket.read("x", 0, 10)
            case "writing":
                bucket.put(tmp_path / "x", "x")
    assert error.value.reason == "StorageUnavailable"
    assert error.value.message.startswith(f"s3://bucket/x: {words}")
    assert time.monotonic() - began < 3


def test_a_server_that_lets_nobody_connect_is_told_in_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As behind a firewall: it does not even say no."""
    with socket.socket() as silent, ExitStack() as stack:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        for _ in range(3):  # nobody else gets in
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(silent.getsockname())
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        _connected.cache_clear()
        began = time.monotonic()
        with pytest.raises(StageFailure) as error:
            storage.fetch("s3://bucket/x")
        assert error.value.reason == "StorageFailed"
        assert error.value.message == f"s3://bucket/x: nobody answers at {host} in time"
        assert time.monotonic() - began < 10
    _connected.cache_clear()


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("http://127.0.0.1:1", "nobody answers at 127.0.0.1:1"),
        ("http://nowhere.invalid:9000", "there is no host of the name nowhere.invalid:9000"),
    ],
)
def test_a_server_that_is_not_there_is_named(
    endpoint: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("ENDPOINT_URL", endpoint), ("ACCESS_KEY_ID", "t")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "t")
    _connected.cache_clear()
    with pytest.raises(StageFailure) as error:
        storage.fetch("s3://bucket/x")
    assert (error.value.reason, error.value.message) == ("StorageFailed", f"s3://bucket/x: {words}")
    _connected.cache_clear()


class Identities(BaseHTTPRequestHandler):
    """AWS' token service, and a store that lets in whom that has given a token."""

    server: IdentityServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        token = asked["WebIdentityToken"][0]
        self.server.asked.append((asked["RoleArn"][0], token))
        if token == "old":
            self._answer(400, "<Error><Code>ExpiredTokenException</Code></Error>")
            return
        given = "".join(
            f"<{name}>{value}</{name}>"
            for name, value in (
                ("AccessKeyId", "key"),
                ("SecretAccessKey", "secret"),
                ("SessionToken", "session"),
                ("Expiration", "2100-01-01T00:00:00Z"),
            )
        )
        name = "AssumeRoleWithWebIdentity"
        inner = f"<{name}Result><Credentials>{given}</Credentials></{name}Result>"
        self._answer(200, f"<{name}Response>{inner}</{name}Response>")

    def do_HEAD(self) -> None:
        self._answer(200 if self.headers["x-amz-security-token"] == "session" else 403, "abc")

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Last-Modified", "Sat, 28 Nov 2026 12:00:00 GMT")
        self.end_headers()
        self.wfile.write(text.encode())


class IdentityServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Identities)
        self.asked: list[tuple[str, str]] = []


@pytest.fixture
def identities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[IdentityServer]:
    """By TLS alone, as the library wants it, with a certificate of an authority of our own."""
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with IdentityServer() as made:
        made.socket = context.wrap_socket(made.socket, server_side=True)
        threading.Thread(target=made.serve_forever, daemon=True).start()
        address = f"https://localhost:{made.server_port}"
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "PROFILE"):
            monkeypatch.delenv(f"AWS_{name}", raising=False)
        for name, value in (
            ("HOME", str(tmp_path)),
            ("SSL_CERT_FILE", str(certificate)),
            ("AWS_ENDPOINT_URL", address),
            ("AWS_ENDPOINT_URL_STS", address),
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/trainer"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token")),
        ):
            monkeypatch.setenv(name, value)
        _connected.cache_clear()
        yield made
        _connected.cache_clear()
        made.shutdown()


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate of localhost, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(made.public_bytes(encoding))
    (folder / "key.pem").write_bytes(key.private_bytes(encoding, *plain))
    return folder / "cert.pem", folder / "key.pem"


def test_a_pods_identity_lets_it_in(identities: IdentityServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of-the-kubelet")
    assert connect(Uri.parse("s3://bucket/x")).find("x") == {"x": 3}
    assert {*identities.asked} == {("arn:aws:iam::1:role/trainer", "of-the-kubelet")}


def test_an_identity_that_has_expired_is_told(identities: IdentityServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("old")
    with pytest.raises(StageFailure, match="the credentials have expired") as error:
        connect(Uri.parse("s3://bucket/x")).find("x")
    assert error.value.reason == "StorageUnavailable"


def test_a_server_whose_certificate_nobody_trusts_is_told(
    identities: IdentityServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("of-the-kubelet")
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(self_signed(tmp_path / "other")[0]))
    with pytest.raises(StageFailure, match="its authority in SSL_CERT_FILE") as error:
        connect(Uri.parse("s3://bucket/x")).find("x")
    assert error.value.reason == "StorageUnavailable"
