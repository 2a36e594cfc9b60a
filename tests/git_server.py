"""Git's own server (`git http-backend`) on this machine, and repositories for it to serve."""

from __future__ import annotations

import base64
import gzip
import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# Nothing of the machine's own settings.
ENV = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    **{
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in {
            "NAME": "Tests",
            "EMAIL": "tests@example.org",
            "DATE": "2024-01-01T00:00:00Z",
        }.items()
    },
}


def git(folder: Path, *arguments: str, data: bytes | None = None, **env: str) -> str:
    """What git says."""
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=ENV | env, input=data, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"git {arguments}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode(errors="replace").strip()


def repository(folder: Path, files: Mapping[str, str | bytes] | None = None) -> str:
    """A new one, of one commit of these files, whose hash it is."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    return commit(folder, files or {})


def commit(folder: Path, files: Mapping[str, str | bytes]) -> str:
    """One more commit; its hash."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "of a test")
    return git(folder, "rev-parse", "HEAD")


def tree(folder: Path, entries: list[tuple[str, bytes, str]]) -> str:
    """The hash of a commit of a tree that git itself would not make: mode, name, object."""
    data = b"".join(
        mode.encode() + b" " + name + b"\0" + bytes.fromhex(hash_) for mode, name, hash_ in entries
    )
    made = git(folder, "hash-object", "-t", "tree", "-w", "--stdin", "--literally", data=data)
    hash_ = git(folder, "commit-tree", made, "-m", "of a test")
    git(folder, "update-ref", f"refs/heads/made-{hash_[:8]}", hash_)
    return hash_


def blob(folder: Path, text: bytes) -> str:
    """The hash of an object of these bytes."""
    return git(folder, "hash-object", "-w", "--stdin", data=text)


# An answer in place of git's: status, headers, body.
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Server:
    """``answer`` is asked first: what it gives goes out instead of git's; ``requests`` are the
    paths of all requests, with their Authorization."""

    url: str
    password: str = ""
    username: str = ""
    protocol: str = "2"  # the newest that it speaks
    answer: Callable[[str, int], Answer | None] | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)


def certificate_of(folder: Path, name: x509.GeneralName) -> tuple[Path, Path]:
    """A server's of that name, by nobody but itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "crt", folder / "key"


@contextmanager
def serving(
    root: Path, certificate: tuple[Path, Path] | None = None, host: str = "127.0.0.1"
) -> Iterator[Server]:
    """A server of all repositories below ``root``, by TLS with a ``certificate`` and its key."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                raise NotImplementedError
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            self._answer(body)

        def _answer(self, body: bytes) -> None:
            given = self.headers.get("Authorization", "")
            server.requests.append((self.path, given))
            told = server.answer(self.path, len(server.requests)) if server.answer else None
            if told is None and server.password:
                wanted = f"{server.username or 'git'}:{server.password}".encode()
                if given != f"Basic {base64.b64encode(wanted).decode()}":
                    told = (401, {"WWW-Authenticate": 'Basic realm="tests"'}, b"who are you?")
            self._send(*(told or self._of_git(body)))

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _of_git(self, body: bytes) -> Answer:
            path = urlsplit(self.path)
            asked = self.headers.get("Git-Protocol", "")
            env = ENV | {
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path.path,
                "QUERY_STRING": path.query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "REMOTE_ADDR": "127.0.0.1",
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                **({"GIT_PROTOCOL": asked} if server.protocol in asked else {}),
            }
            done = subprocess.run(
                ["git", "http-backend"], env=env, input=body, capture_output=True, check=False
            )
            head, _, out = done.stdout.partition(b"\r\n\r\n")
            headers = dict(
                line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line
            )
            return int(headers.pop("Status", "200").split()[0]), headers, out

        def log_message(self, *arguments: object) -> None:
            """Nothing."""

    httpd = ThreadingHTTPServer((host, 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    scheme = "http" if certificate is None else "https"
    name = "localhost" if host == "127.0.0.1" else host
    server = Server(f"{scheme}://{name}:{httpd.server_address[1]}")
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
