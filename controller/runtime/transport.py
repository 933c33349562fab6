"""The seam between our client and HTTP: what a request and an answer are, so that tests give answers instead of patches.

The real transport is controller.runtime.connection; the fake is tests/fakes.py. Pure.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

READ_TIMEOUT_SECONDS = 30.0
"""Also the total of a request: the API server itself gives up after 60 s, and a controller is better off asking again."""


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
    """Longest silence; for all but streams also the longest whole."""
    guard: Callable[[], None] | None = field(default=None, compare=False, repr=False)
    """Called when a connection is there, last before anything is sent, and again before it is sent again; it may raise."""

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
    """An answer that goes on. Where `status` is not 200, the lines are those of the error."""

    status: int
    lines: AsyncIterator[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)


class Transport(Protocol):
    """Sends requests. Raises Unreachable where no answer comes; every HTTP status is an answer."""

    async def send(self, request: Request) -> Response:
        """Send and read the whole answer."""
        ...

    def stream(self, request: Request) -> AbstractAsyncContextManager[Stream]:
        """Send and read line by line for as long as the answer goes on."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...
