"""Google's XML interface to writing, which clients use and the emulator lacks, by its JSON one.

https://cloud.google.com/storage/docs/xml-api/reference-methods
"""

from __future__ import annotations

import http.client
import json
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

_CONDITION = "x-goog-if-generation-match"
_NO_BUCKET = b"<Error><Code>NoSuchBucket</Code><Message>There is no such bucket.</Message></Error>"
_HOP = ("connection", "transfer-encoding", "content-length", "date", "server")


class Xml(ThreadingHTTPServer):
    """In front of the emulator at ``port`` of this machine; whatever else is asked is passed on."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.behind = port
        self.parts: dict[str, dict[int, bytes]] = {}  # by upload


class _Request(BaseHTTPRequestHandler):
    server: Xml
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._pass_on()

    do_HEAD = do_DELETE = do_GET

    def do_PUT(self) -> None:
        query, data = self._asked()
        if "partNumber" in query:
            number = int(query["partNumber"][0])
            self.server.parts[query["uploadId"][0]][number] = data
            self._answer(200, {"ETag": f'"{number}"'})
        else:
            self._upload(data)

    def do_POST(self) -> None:
        query, _ = self._asked()
        if "uploads" in query:
            name = uuid.uuid4().hex
            self.server.parts[name] = {}
            inner = f"<UploadId>{name}</UploadId>"
            told = f"<InitiateMultipartUploadResult>{inner}</InitiateMultipartUploadResult>"
            self._answer(200, {}, told.encode())
            return
        parts = self.server.parts.pop(query["uploadId"][0])
        told = b"<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>"
        self._upload(b"".join(parts[number] for number in sorted(parts)), told)

    def _asked(self) -> tuple[dict[str, list[str]], bytes]:
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        return query, self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _upload(self, data: bytes, told: bytes = b"") -> None:
        bucket, _, name = unquote(urlsplit(self.path).path).lstrip("/").partition("/")
        query = {"uploadType": "media", "name": name}
        if (generation := self.headers.get(_CONDITION)) is not None:
            query["ifGenerationMatch"] = generation
        status, _, body = self._ask(
            "POST", f"/upload/storage/v1/b/{quote(bucket)}/o?{urlencode(query)}", data, {}
        )
        if status != 200:
            self._answer(status, {}, body)
            return
        made = json.loads(body)
        self._answer(200, {"ETag": made["etag"], "x-goog-generation": made["generation"]}, told)

    def _pass_on(self) -> None:
        headers = {"Range": self.headers["Range"]} if "Range" in self.headers else {}
        status, told, body = self._ask(self.command, self.path, None, headers)
        if status == 500 and urlsplit(self.path).path.count("/") == 1:
            # The emulator has no words for a bucket that is not there.
            status, told, body = 404, {}, _NO_BUCKET
        self._answer(status, told, body)

    def _ask(
        self, method: str, path: str, data: bytes | None, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        behind = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=30)
        try:
            behind.request(method, path, data, headers)
            answer = behind.getresponse()
            body = answer.read()
            told = {name: text for name, text in answer.getheaders() if name.lower() not in _HOP}
            if method == "HEAD":
                told["Content-Length"] = answer.headers.get("Content-Length") or "0"
            return answer.status, told, body
        finally:
            behind.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, text in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)
