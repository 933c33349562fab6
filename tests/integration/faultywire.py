"""A wire that does what networks, proxies and API servers in trouble do: wrong answers, lost ones, broken streams.

Test: tests/integration/test_watch_faults.py, test_request_faults.py and test_request_faults_own_accounts.py, which would not notice a
fault that is never injected: each asks for `injected`.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from tests.cluster.controlplane import ControlPlane
from tests.integration.wire import Sent, Wire

Matches = Callable[[web.Request], bool]
Damage = Callable[[web.Request, web.StreamResponse, bytes], Awaitable[None]]
"""Writes a part of an answer, or something else, or nothing."""


@dataclass
class Fault:
    """What goes wrong with the next `times` requests, or parts of an answer, that match."""

    matches: Matches
    times: int = 1
    answer: Callable[[], web.Response] | None = None
    """The answer instead of the server's, which never sees the request."""
    loses_answer: bool = False
    """The server does what it is asked, and the client does not learn it."""
    damage: Damage | None = None
    injected: int = field(default=0, init=False)

    def strikes(self, request: web.Request) -> bool:
        """Return whether this request is struck, and count it."""
        if self.injected >= self.times or not self.matches(request):
            return False
        self.injected += 1
        return True


class FaultyWire(Wire):
    """A wire with faults, the first of which that matches strikes."""

    def __init__(self, plane: ControlPlane, account: Path, directory: Path, name: str) -> None:
        super().__init__(plane, account, directory, name)
        self.faults: list[Fault] = []

    async def _instead(self, request: web.Request) -> web.StreamResponse | None:
        for fault in self.faults:
            if fault.answer is not None and fault.strikes(request):
                answer = fault.answer()
                self.sent.append(Sent(time.monotonic(), request.method, request.path, request.query_string, answer.status))
                return answer
        return None

    async def _answered(self, request: web.Request) -> None:
        if any(fault.loses_answer and fault.strikes(request) for fault in self.faults):
            abort(request)

    async def _write(self, request: web.Request, response: web.StreamResponse, chunk: bytes) -> None:
        for fault in self.faults:
            if fault.damage is not None and fault.strikes(request):
                await fault.damage(request, response, chunk)
                return
        await super()._write(request, response, chunk)


def abort(request: web.Request) -> None:
    """Cut the client's connection."""
    if request.transport is not None:
        request.transport.abort()


def is_watch(request: web.Request) -> bool:
    return request.query.get("watch") == "true"


def is_list(request: web.Request) -> bool:
    return request.method == "GET" and "limit" in request.query


def is_next_page(request: web.Request) -> bool:
    return is_list(request) and "continue" in request.query


def status(code: int, reason: str = "", *, retry_after: int | None = None) -> Callable[[], web.Response]:
    """An answer of the API server that is not a success."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": "injected", "code": code}
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return lambda: web.json_response(body, status=code, headers=headers)


def text(words: str, code: int = 200) -> Callable[[], web.Response]:
    """An answer of something else than the API server."""
    return lambda: web.Response(text=words, status=code)


async def cut(request: web.Request, response: web.StreamResponse, chunk: bytes) -> None:
    await response.write(chunk)
    await asyncio.sleep(0.05)  # so that the client has read it
    abort(request)


async def cut_before(request: web.Request, response: web.StreamResponse, chunk: bytes) -> None:
    abort(request)


async def cut_half_way(request: web.Request, response: web.StreamResponse, chunk: bytes) -> None:
    await response.write(chunk[: len(chunk) // 2])
    await asyncio.sleep(0.05)
    abort(request)


async def swallow(request: web.Request, response: web.StreamResponse, chunk: bytes) -> None:
    await asyncio.sleep(3600)


async def slowly(request: web.Request, response: web.StreamResponse, chunk: bytes) -> None:
    for start in range(0, len(chunk), 100):
        await response.write(chunk[start : start + 100])
        await asyncio.sleep(0.02)


async def twice(request: web.Request, response: web.StreamResponse, chunk: bytes) -> None:
    await response.write(chunk + chunk)


def instead_of_it(line: str | dict[str, object]) -> Damage:
    """Write a line of something else; what the server sent is lost."""
    data = line if isinstance(line, str) else json.dumps(line)

    async def damage(request: web.Request, response: web.StreamResponse, chunk: bytes) -> None:
        await response.write(data.encode() + b"\n")

    return damage
