# ruff: noqa: N818  (the names are the API's own reasons; `Error` marks the three kinds)
"""What can go wrong with the API, in the three kinds that a controller treats differently.

No error of the client library or of aiohttp leaves `controller.runtime`: it becomes the cause of one of these. Pure.
Tests: tests/controller/runtime/test_errors.py.
"""

import math
from collections.abc import Mapping
from typing import Any


class KubeError(Exception):
    """A request to the API failed. `status` is the HTTP status, None if no answer came."""

    def __init__(self, message: str, *, status: int | None = None, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        self.again_within_seconds: float | None = None
        """When something else is due, whatever comes of the retries: a deadline, not a poll, which would cap their pauses for good."""


class RetryableError(KubeError):
    """The same request may succeed in a moment; the queue tries again with growing delay."""


class WaitingError(KubeError):
    """Somebody else must do something first (create an object, grant a permission, raise a quota)."""


class TerminalError(KubeError):
    """The request is wrong and stays wrong; a retry is useless."""


class Unreachable(RetryableError):
    """No answer: refused, cut, timed out, or TLS failed."""


class ServerError(RetryableError):
    """The API server failed (5xx) or sent something that is not an answer."""


class TooManyRequests(RetryableError):
    """The API server asks to slow down."""


class Unauthorized(RetryableError):
    """The credentials are not accepted, even after they were read again; tokens are renewed, so this may pass."""


class Conflict(RetryableError):
    """The object changed since it was read, or another field manager owns a field. Read it again and decide again."""


class Gone(RetryableError):
    """The resourceVersion or continue token is too old: list again."""


class NotLeading(RetryableError):
    """This process no longer holds the lease, so the write was not sent."""


class NotFound(WaitingError):
    """There is no such object, or no such namespace."""


class ResourceAbsent(NotFound):
    """The API server does not serve this kind of object: its definition is not installed."""


class Forbidden(WaitingError):
    """RBAC, a quota or an admission plugin says no."""


class AlreadyExists(TerminalError):
    """An object of that name exists already."""


class Invalid(TerminalError):
    """The API server refuses the object or the request; the message names the field."""


_BY_STATUS: dict[int, type[KubeError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    408: Unreachable,
    409: Conflict,
    410: Gone,
    429: TooManyRequests,
}


def error_from_status(http_status: int, answer: Mapping[str, Any] | None, what: str, retry_after: str | None = None) -> KubeError:
    """Return the error for an answer that is not a success.

    `answer` is the `Status` object in the answer, None if there was none; `what` names the request for the message;
    `retry_after` is the header of that name, in seconds.
    """
    status = answer or {}
    details = status.get("details")
    details = details if isinstance(details, dict) else {}
    message = f"{what}: {status.get('message') or f'HTTP {http_status}'}"
    wait = _seconds(details.get("retryAfterSeconds")) or _seconds(retry_after)
    kind = _BY_STATUS.get(http_status)
    if http_status == 409 and status.get("reason") == "AlreadyExists":
        kind = AlreadyExists
    elif http_status == 404 and not details.get("name"):
        # A missing object is reported with its name, a path that is not served without one.
        kind = ResourceAbsent
    elif kind is None:
        kind = ServerError if http_status >= 500 or http_status < 400 else Invalid
    return kind(message, status=http_status, retry_after_seconds=float(wait) if wait else None)


def _seconds(text: Any) -> float | None:
    try:
        seconds = float(text) if text else None
    except (TypeError, ValueError):  # the header may also be a date
        return None
    return seconds if seconds is not None and math.isfinite(seconds) else None
