"""The seam between our client and HTTP: tests provide answers here instead of patching code.

The real transport is controller.runtime.connection; the fake is tests/fakes.py. Pure.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

READ_TIMEOUT_SECONDS = 30.0
"""Also the limit of a whole request: the API server itself gives up after 60 s, and asking again is better than waiting."""


@dataclass(frozen=True)
class Request:
    """One HTTP request to the API server. `body` is sent as JSON."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str = "application/json"
    accept: str = "application/json"
    read_timeout_seconds: float = READ_TIMEOUT_SECONDS
    """Longest silence; for anything but a stream also the longest time in total."""
    guard: Callable[[], None] | None = field(default=None, compare=False, repr=False)
    """Called once there is a connection, right before anything is sent, and again before each resend; it may raise."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Response:
    """A whole answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream:
    """An answer that arrives line by line. If `status` is not 200, the lines are those of the error."""

    status: int
    lines: AsyncIterator[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)


class Transport(Protocol):
    """Sends requests. Raises Unreachable if no answer comes; every HTTP status is an answer."""

    async def send(self, request: Request) -> Response:
        """Send and read the whole answer."""
        ...

    def stream(self, request: Request) -> AbstractAsyncContextManager[Stream]:
        """Send and read line by line until the answer ends."""
        ...

    def renew(self) -> None:
        """Use no connection from before for what is sent from now on: they may be dead."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...
