"""A way to the API server that records what goes over it, and that can swallow everything, as a broken firewall does.

It runs in a thread of its own, so that a test may wait for processes meanwhile. It speaks plain HTTP to the client, which
is allowed on the loopback only, and hands on the client's own token.
"""

import asyncio
import ssl
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp import web

from tests.cluster.controlplane import ControlPlane

HOP_BY_HOP = {"connection", "content-length", "date", "host", "keep-alive", "server", "transfer-encoding"}


@dataclass(frozen=True)
class Sent:
    """A request that arrived: when, on the monotonic clock, and what; `status` is that of the answer, 0 while there is none."""

    at: float
    method: str
    path: str
    query: str
    status: int = 0

    @property
    def writes(self) -> bool:
        return self.method != "GET" and "dryRun" not in self.query

    @property
    def elects(self) -> bool:
        return "/leases" in self.path

    @property
    def kind(self) -> str:
        """The plural of the resource, with its subresource."""
        parts = self.path.strip("/").split("/")
        parts = parts[2 if parts[0] == "api" else 3 :]
        parts = parts[2:] if parts[0] == "namespaces" and len(parts) > 2 else parts
        return "/".join([parts[0], *parts[2:]])


class Wire:
    """One client's way to the API server. `cut` swallows everything, `forget` what is connected; that stays dead."""

    def __init__(self, plane: ControlPlane, account: Path, directory: Path, name: str) -> None:
        self.sent: list[Sent] = []
        self._plane, self._account, self._name = plane, account, name
        self.kubeconfig = directory / f"wire-{name}"
        self._cuts, self._swallows = 0, False
        # By the transports themselves: a number of an object that is gone may soon be that of another.
        self._born: WeakKeyDictionary[asyncio.Transport, int] = WeakKeyDictionary()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"wire {name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(20)
        self.url = f"http://127.0.0.1:{port}"
        text = self._account.read_text().replace(self._plane.url, self.url)
        self.kubeconfig.write_text("\n".join(line for line in text.splitlines() if "certificate-authority" not in line))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    def cut(self) -> None:
        """Swallow everything from now on."""
        self._cuts, self._swallows = self._cuts + 1, True

    def reconnect(self) -> None:
        """Let new connections through again."""
        self._swallows = False

    def forget(self) -> None:
        """Swallow everything on what is connected by now, as a firewall that was restarted; new connections pass."""
        self._cuts += 1

    def between(self, begin: float, end: float) -> list[Sent]:
        """Return what was sent in this time but for the Lease and the opening of watches."""
        chosen = [each for each in list(self.sent) if begin <= each.at < end]
        return [each for each in chosen if not each.elects and "watch=true" not in each.query]

    def summary(self, begin: float, end: float) -> str:
        """Return in words how often what was asked for."""
        counts = Counter(f"{each.method} {each.kind}" for each in self.between(begin, end))
        return ", ".join(f"{count} {what}" for what, count in counts.most_common())

    async def _start(self) -> int:
        context = ssl.create_default_context(cafile=str(self._plane.authority))
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        application = web.Application(client_max_size=2**26)
        application.router.add_route("*", "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return int(self._runner.addresses[0][1])

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()
        swallowed = asyncio.all_tasks() - {asyncio.current_task()}
        for task in swallowed:  # they would be destroyed during some later test, which would then be called the culprit
            task.cancel()
        await asyncio.gather(*swallowed, return_exceptions=True)
        await asyncio.sleep(0)  # the turn in which closed connections are forgotten

    def _dead(self, request: web.Request) -> bool:
        if request.transport is None:  # the client has gone
            return self._swallows
        born = self._born.setdefault(request.transport, -1 if self._swallows else self._cuts)
        return self._swallows or born < self._cuts

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        if self._dead(request):
            await asyncio.sleep(3600)
        body = await request.read()
        if (instead := await self._instead(request)) is not None:
            return instead
        index = len(self.sent)
        self.sent.append(Sent(time.monotonic(), request.method, request.path, request.query_string))
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        # In the audit log all clients of one account look alike otherwise.
        headers["User-Agent"] = f"{headers.get('User-Agent', '')} {self._name}"
        url = f"{self._plane.url}{request.path_qs}"
        try:
            async with self._session.request(request.method, url, headers=headers, data=body) as answer:
                self.sent[index] = Sent(**{**vars(self.sent[index]), "status": answer.status})
                await self._answered(request)
                passed = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
                response = web.StreamResponse(status=answer.status, headers=passed)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    if self._dead(request):
                        await asyncio.sleep(3600)
                    await self._write(request, response, chunk)
                return response
        except aiohttp.ClientError:
            if request.transport is not None:  # the server has gone, and not the client
                request.transport.abort()
            return web.Response(status=502)

    async def _instead(self, request: web.Request) -> web.StreamResponse | None:
        """Return an answer that is not the server's; for wires that do more than swallow."""
        return None

    async def _answered(self, request: web.Request) -> None:
        """Do something between the server's answer and what the client gets of it."""

    async def _write(self, request: web.Request, response: web.StreamResponse, chunk: bytes) -> None:
        """Hand on a part of an answer."""
        await response.write(chunk)
