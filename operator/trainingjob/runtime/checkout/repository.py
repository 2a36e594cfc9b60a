"""One commit of a git repository, by https: dulwich has the protocol and the packs, this has the
connection, the bounds, and what it means when it fails.

The commit is asked for by its hash, without its history. Servers give any that their branches and
tags reach: each request stands alone, so none knows what it has listed before.
"""

from __future__ import annotations

import random
import re
import ssl
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import urllib3
from dulwich.client import AbstractHttpGitClient
from dulwich.errors import GitProtocolError, HangupException
from dulwich.object_store import DiskObjectStore, ObjectStoreGraphWalker
from dulwich.objects import ObjectID
from urllib3.exceptions import HTTPError, LocationValueError

from ..base.errors import StageFailure
from ..base.log import log
from ..base.text import cut, one_line, size_in_words, without_credentials

MOST_BYTES = 512 * 2**20
MOST_OBJECTS = 200_000
# For trying again what may pass by itself; the first pause, which then doubles.
TRY_SECONDS, _PAUSE_SECONDS = 30.0, 1.0
_CONNECT_SECONDS, _IDLE_SECONDS = 5.0, 60.0
_MOST_REDIRECTS = 5
# Before the objects of a pack: its name, its version, how many they are.
_HEAD = 12
_LISTING = "application/x-git-upload-pack-advertisement"
# A packet by which a server says no.
_REFUSAL = re.compile(rb"^[0-9a-f]{4}ERR ([^\0]+)")
_NO_COMMIT = re.compile(r"not our ref|unadvertised|not advertised|not found|no such", re.IGNORECASE)
_CREDENTIALS = (
    "set the keys password and, if need be, username of code.git.credentialsSecret; on one machine "
    "TRAININGJOB_GIT_PASSWORD and TRAININGJOB_GIT_USERNAME"
)


@dataclass(frozen=True)
class Source:
    """Whence; what is empty is not there. ``authority``: further certificates, in PEM."""

    url: str
    commit: str
    username: str = ""
    password: str = field(default="", repr=False)
    authority: str = ""


class _Passing(Exception):
    """It may go better in a moment, of which the server may have said how long it is."""

    def __init__(self, what: str, seconds: float = 0.0) -> None:
        super().__init__(what)
        self.seconds = seconds


def fetch(source: Source, folder: Path) -> DiskObjectStore:
    """The commit and all that its tree has, in ``folder``. Raises StageFailure: RepositoryInvalid,
    RepositoryUnreachable; MemoryError, OSError."""
    begun, pause = time.monotonic(), _PAUSE_SECONDS
    while True:
        objects = DiskObjectStore.init(str(folder / f"{time.monotonic_ns()}"))
        client = _Client(source)
        try:
            _receive(client, objects, source)
            return objects
        except _Passing as error:
            # Not all pods of a gang at the same moment.
            wait = max(error.seconds, pause) * random.uniform(1.0, 1.5)  # noqa: S311
            if time.monotonic() + wait - begun > TRY_SECONDS:
                raise client.unreachable(str(error)) from error
            log(f"cannot fetch {source.url}: {error}; trying again in {wait:.0f} s")
            time.sleep(wait)
            pause *= 2
        finally:
            client.close()


def _receive(client: _Client, objects: DiskObjectStore, source: Source) -> None:
    wanted = ObjectID(source.commit.encode())
    file, commit, _ = objects.add_pack()
    size, head = 0, b""

    def receive(data: bytes) -> int:
        nonlocal size, head
        size += len(data)
        if size > MOST_BYTES:
            raise client.invalid(f"sends more than {size_in_words(MOST_BYTES)} for the commit")
        head += data[: _HEAD - len(head)]
        count = int.from_bytes(head[8:_HEAD], "big")
        if len(head) == _HEAD and count > MOST_OBJECTS:
            raise client.invalid(
                f"has {count} objects in the commit, of which {MOST_OBJECTS} are the most"
            )
        return file.write(data)

    try:
        client.fetch_pack(
            "",
            lambda refs, depth=None: [wanted],
            ObjectStoreGraphWalker([], lambda _: []),
            receive,
            depth=1,
            ref_prefix=[b"HEAD"],
        )
        commit()
    except (StageFailure, _Passing, MemoryError, OSError):
        raise
    except Exception as error:
        # dulwich has no one type for what it cannot read, and a map that it cannot close hides it.
        hidden = error.__context__ if isinstance(error, BufferError) else None
        if isinstance(hidden, MemoryError):
            raise hidden from error
        raise client.meant(hidden if isinstance(hidden, Exception) else error) from error
    finally:
        file.close()
    if wanted not in objects:
        raise client.invalid(f"has sent no commit {source.commit}")


class _Client(AbstractHttpGitClient):
    """Of one repository: no other host is asked anything, and none is given the credentials."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.url, thin_packs=False, quiet=True)
        self._source = source
        try:
            self._origin = _origin(urlsplit(source.url))
        except ValueError as error:
            raise self.invalid("has a port beyond 65535") from error
        self._pool = _pool(source)
        self._said = b""

    def close(self) -> None:
        """Its connections."""
        self._pool.clear()

    def _get_url(self, path: str | bytes) -> str:
        return self._base_url

    def _http_request(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,
    ) -> tuple[Any, Callable[[int], bytes]]:
        """The answer and what reads it, as dulwich wants it."""
        asked = url
        for _ in range(_MOST_REDIRECTS):
            if _origin(urlsplit(url)) != self._origin:
                raise self.invalid(f"leads to {_shown(url)}: give that URL, if it is to be trusted")
            answer = self._request(url, headers or {}, data)
            location = answer.headers.get("Location", "")
            if answer.status not in (301, 302, 303, 307, 308) or not location or data is not None:
                break
            answer.close()
            url = urljoin(url, location)
        self._judge(answer, listing=data is None)
        answer.content_type = answer.headers.get("Content-Type")
        answer.redirect_location = url if url != asked else ""
        return answer, self._reader(answer)

    def _request(self, url: str, headers: dict[str, str], data: Any) -> Any:
        headers = headers | {"User-Agent": "git/trainingjob", "Pragma": "no-cache"}
        if self._source.password:
            # A Secret that was made of a file ends as the file does.
            given = self._source.username or "git", self._source.password
            pair = ":".join(part.rstrip("\r\n") for part in given)
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        try:
            return self._pool.request(
                "GET" if data is None else "POST",
                url,
                body=data,
                headers=headers,
                preload_content=False,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_IDLE_SECONDS),
            )
        except (HTTPError, LocationValueError) as error:
            raise self._of_network(error) from error

    def _judge(self, answer: Any, *, listing: bool) -> None:
        """Raises what a status that is no success means."""
        status, kind = answer.status, answer.headers.get("Content-Type", "").split(";")[0]
        if status == HTTPStatus.OK and (kind == _LISTING or not listing):
            return
        answer.close()
        told = f"answers {status}"
        if status == HTTPStatus.OK:
            raise self.invalid(
                f"is no git repository by https: it answers with {kind or 'something else'}: give "
                "the URL that `git clone` takes"
            )
        if status in (401, 403) and not self._source.password:
            raise self.invalid(f"{told}, so it wants credentials: {_CREDENTIALS}")
        if status in (401, 403):
            raise self.invalid(f"{told}: it does not take the credentials: {_CREDENTIALS}")
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500:
            given = answer.headers.get("Retry-After", "")
            raise _Passing(told, float(given) if given.isdecimal() and len(given) < 6 else 0.0)
        if status == HTTPStatus.NOT_FOUND:
            raise self.invalid(
                f"{told}: there is no such repository, or it is not for these credentials; if need "
                f"be, {_CREDENTIALS}"
            )
        raise self.invalid(f"{told}: is it the URL that `git clone` takes?")

    def _reader(self, answer: Any) -> Callable[[int], bytes]:
        self._said = b""

        def read(size: int) -> bytes:
            try:
                data: bytes = answer.read(size)
            except HTTPError as error:
                raise self._of_network(error) from error
            self._said += data[: 1024 - len(self._said)]
            return data

        return read

    def _of_network(self, error: Exception) -> Exception:
        """A certificate does not mend itself; all else may."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return self.invalid(
                    f"has a certificate that nobody vouches for ({cause.verify_message}): add its "
                    "authority as ca.crt to code.git.credentialsSecret, or on one machine as "
                    "TRAININGJOB_GIT_CA"
                )
            if isinstance(cause, LocationValueError):
                return self.invalid("is no URL")
            cause = cause.__cause__ or cause.__context__ or _reason(cause)
        return _Passing(_words(error))

    def meant(self, error: Exception) -> Exception:
        """What a failure of dulwich's comes from."""
        refusal = _REFUSAL.match(self._said)
        said = one_line(refusal[1].decode(errors="replace")) if refusal is not None else ""
        if refusal is None and isinstance(error, HangupException):
            return _Passing("its answer is not whole")
        if (
            refusal is None
            and isinstance(error, GitProtocolError)
            and _NO_COMMIT.search(str(error))
        ):
            said = one_line(error)  # by a band of its own
        if _NO_COMMIT.search(said):
            return self.invalid(
                f"has no commit {self._source.commit}, or none of its branches and tags has it: "
                "push it, or give one that `git ls-remote` lists"
            )
        if said:
            return self.invalid(f"refuses: {cut(said, 300)}")
        what = f"{type(error).__name__}: {one_line(error)}"
        return self.invalid(f"sends what is no commit of git ({what})")

    def invalid(self, what: str) -> StageFailure:
        """RepositoryInvalid of this repository."""
        return StageFailure("RepositoryInvalid", f"{self._source.url} {what}")

    def unreachable(self, what: str) -> StageFailure:
        """RepositoryUnreachable of this repository."""
        return StageFailure("RepositoryUnreachable", f"cannot fetch {self._source.url}: {what}")


def _pool(source: Source) -> urllib3.PoolManager:
    context = ssl.create_default_context()
    if source.authority:
        try:
            context.load_verify_locations(cadata=source.authority)
        except (ssl.SSLError, ValueError) as error:
            raise StageFailure(
                "RepositoryInvalid",
                f"ca.crt of code.git.credentialsSecret ({source.url}) is no certificate in PEM",
            ) from error
    url, proxies = urlsplit(source.url), urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(url.hostname or ""):
        return urllib3.PoolManager(ssl_context=context)
    try:
        return _through(proxy if "://" in proxy else f"http://{proxy}", context)
    except (LocationValueError, ValueError) as error:
        raise StageFailure(
            "RepositoryInvalid",
            f"cannot fetch {source.url}: the proxy of {url.scheme}_proxy is none of http or https, "
            "such as http://proxy:3128",
        ) from error


def _through(proxy: str, context: ssl.SSLContext) -> urllib3.ProxyManager:
    """Raises LocationValueError, ValueError."""
    found, headers = urlsplit(proxy), None
    if found.username is not None:
        pair = f"{unquote(found.username)}:{unquote(found.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=pair)
    return urllib3.ProxyManager(proxy, proxy_headers=headers, ssl_context=context)


def _origin(url: SplitResult) -> tuple[str, str | None, int]:
    return url.scheme, url.hostname, url.port or (443 if url.scheme == "https" else 80)


def _shown(url: str) -> str:
    """Without what may be secret."""
    found = urlsplit(url)
    return f"{found.scheme}://{found.hostname}{cut(found.path, 200)}"


def _reason(error: BaseException) -> BaseException | None:
    """urllib3 has some causes here alone."""
    found = getattr(error, "reason", None)
    return found if isinstance(found, BaseException) else None


def _words(error: Exception) -> str:
    """The innermost of urllib3's own: the others are around it."""
    found: BaseException = error
    while (inner := _reason(found)) is not None:
        found = inner
    # Some begin with what Python shows of the connection.
    return without_credentials(re.sub(r"^<[^>]*>: |^\w+\([^)]*\): ", "", one_line(found)))
