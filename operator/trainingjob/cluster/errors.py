"""How a call to the Kubernetes API can fail; everything foreign is converted here.

ClusterError
├── NotFound        404
├── AlreadyExists   409, of a creation
├── Conflict        409, of a write: the object has changed since it was read
├── TooLong         an answer that is longer than the caller takes
├── Refused         400, 403, 422 and the like: asking again does not help by itself
└── Unavailable     401, 410, 429, 5xx, no connection, no answer in time: ask again later;
                    whether the call took effect is not known
"""

from __future__ import annotations

from typing import Any


class ClusterError(Exception):
    """The message is the API server's own, or says why there was none.

    ``code`` is the HTTP status, 0 when there was no answer; ``details`` the causes of a
    ``metav1.Status``.
    """

    def __init__(self, message: str, code: int = 0, details: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.details: dict[str, Any] = details if isinstance(details, dict) else {}


class NotFound(ClusterError):
    """The object, its namespace or its resource is not there."""


class AlreadyExists(ClusterError):
    """An object of that name is there already."""


class Conflict(ClusterError):
    """The object has changed since it was read, or is another one by now."""


class TooLong(ClusterError):
    """The answer is longer than the caller takes."""


class Refused(ClusterError):
    """The API server does not let it pass: validation, admission, quota, rights."""


class Unavailable(ClusterError):
    """No usable answer. ``retry_after`` are the seconds that the server asks to wait."""

    def __init__(self, message: str, code: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message, code)
        self.retry_after = retry_after


def of_response(code: int, body: Any, retry_after: str | None) -> ClusterError:
    """The error for an HTTP response of 400 or above; ``body`` is a metav1.Status, or anything."""
    answer = body if isinstance(body, dict) else {}
    message = str(answer.get("message") or f"the API server answered {code}")
    if code == 404:
        return NotFound(message, code)
    if code == 409:
        kind = AlreadyExists if answer.get("reason") == "AlreadyExists" else Conflict
        return kind(message, code)
    if code in (401, 410, 429) or code >= 500:
        return Unavailable(message, code, _seconds(retry_after))
    return Refused(message, code, answer.get("details"))


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() else None
