"""The real transport against a small HTTP server on the loopback."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller.runtime import connection
from controller.runtime.connection import ConnectionSettingsError, KubernetesTransport
from controller.runtime.errors import NotLeading, Unreachable
from controller.runtime.transport import Request
from controller.settings import NAMESPACES_MAX
from tests.controller.runtime.builders import until

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def kubeconfig(directory: Path, server: str, *, cluster: dict[str, Any] | None = None, **user: str) -> Path:
    """A kubeconfig for `server`; JSON is YAML."""
    path = directory / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(json.dumps(content))
    return path


@asynccontextmanager
async def connected(directory: Path, handler: Handler, **user: str) -> AsyncIterator[KubernetesTransport]:
    async with serving(handler) as server:
        transport = await KubernetesTransport.connect(kubeconfig(directory, server, **user))
        try:
            yield transport
        finally:
            await transport.close()


async def test_a_request_arrives_as_it_was_meant(tmp_path: Path) -> None:
    seen: list[tuple[str, str, dict[str, str], str, str, Any]] = []

    async def handle(request: web.Request) -> web.Response:
        headers = request.headers
        seen.append(
            (request.method, request.path, dict(request.query), headers["Content-Type"], headers["Authorization"], await request.json())
        )
        return web.json_response({"ok": True}, status=201, headers={"Warning": "careful"})

    async with connected(tmp_path, handle, token="secret") as transport:
        query = {"fieldManager": "me", "labelSelector": "a in (b,c),d=e"}
        response = await transport.send(Request("PATCH", "/apis/x", query, {"a": [1, None]}, content_type="application/apply-patch+yaml"))

    assert seen == [("PATCH", "/apis/x", query, "application/apply-patch+yaml", "Bearer secret", {"a": [1, None]})]
    assert (response.status, json.loads(response.body), response.headers["warning"]) == (201, {"ok": True}, "careful")


async def test_a_token_that_was_renewed_is_read_again_when_the_old_one_is_refused(tmp_path: Path) -> None:
    token, accepted = tmp_path / "token", "first"
    token.write_text("first")

    async def handle(request: web.Request) -> web.Response:
        return web.json_response({}, status=200 if request.headers["Authorization"] == f"Bearer {accepted}" else 401)

    async with connected(tmp_path, handle, tokenFile=str(token)) as transport:
        assert (await transport.send(Request("GET", "/x"))).status == 200
        accepted = "second"
        token.write_text("second")
        assert (await transport.send(Request("GET", "/x"))).status == 200


async def test_credentials_that_stay_wrong_are_reported_and_not_read_with_every_request(tmp_path: Path) -> None:
    asked = 0

    async def handle(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.json_response({}, status=401)

    async with connected(tmp_path, handle, token="wrong") as transport:
        for _ in range(3):
            assert (await transport.send(Request("GET", "/x"))).status == 401

    assert asked == 4


async def test_inside_a_cluster_the_pods_own_account_is_used_and_a_missing_token_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")

    with pytest.raises(ConnectionSettingsError, match="Service token file does not exist"):
        await KubernetesTransport.connect()


async def test_a_guard_is_asked_again_before_a_request_is_sent_again_on_another_connection(tmp_path: Path) -> None:
    arrived: list[str] = []
    answers = [True, False]

    async def handle(request: web.Request) -> web.Response:
        arrived.append(request.method)
        if request.method == "DELETE":
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({})

    def guard() -> None:
        if not answers.pop(0):
            raise NotLeading("the lease has ended meanwhile")

    async with connected(tmp_path, handle, token="t") as transport:
        await transport.send(Request("GET", "/x"))
        with pytest.raises(NotLeading):
            await transport.send(Request("DELETE", "/x", guard=guard))
        assert (await transport.send(Request("GET", "/x"))).status == 200

    assert arrived == ["GET", "DELETE", "GET"]


async def test_a_server_that_does_not_answer_is_unreachable_after_the_time_out(tmp_path: Path) -> None:
    async def handle(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.json_response({})

    async with connected(tmp_path, handle, token="t") as transport:
        with pytest.raises(Unreachable, match=r"GET /x: no answer within 0\.2 s"):
            await transport.send(Request("GET", "/x", read_timeout_seconds=0.2))


async def test_after_a_renewal_nothing_is_sent_on_an_old_connection_and_what_is_under_way_ends_well(tmp_path: Path) -> None:
    connections: list[object] = []
    go_on = asyncio.Event()

    async def handle(request: web.Request) -> web.Response:
        connections.append(request.transport)
        if request.path == "/slow":
            await go_on.wait()
        return web.json_response({})

    async with connected(tmp_path, handle, token="t") as transport:
        await transport.send(Request("GET", "/x"))
        await transport.send(Request("GET", "/x"))
        assert connections[0] is connections[1]
        under_way = asyncio.create_task(transport.send(Request("GET", "/slow")))
        await until(lambda: len(connections) == 3)
        transport.renew()
        await transport.send(Request("GET", "/x"))
        transport.renew()
        await transport.send(Request("GET", "/x"))
        go_on.set()
        assert (await under_way).status == 200

    assert len({id(each) for each in connections}) == 3


async def test_a_stream_that_is_not_even_opened_is_unreachable_before_an_open_one_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "READ_TIMEOUT_SECONDS", 0.2)

    async def handle(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.json_response({})

    async def open_one(transport: KubernetesTransport) -> None:
        async with transport.stream(Request("GET", "/x", read_timeout_seconds=120.0)):
            raise AssertionError("nothing was answered")

    async with connected(tmp_path, handle, token="t") as transport:
        with pytest.raises(Unreachable, match=r"no answer within 0\.2 s"):
            await open_one(transport)


async def test_a_server_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    transport = await KubernetesTransport.connect(kubeconfig(tmp_path, "http://127.0.0.1:1", token="t"))
    with pytest.raises(Unreachable, match="GET /x: ClientConnectorError"):
        await transport.send(Request("GET", "/x"))
    await transport.close()


async def test_a_stream_gives_whole_lines_however_they_arrive(tmp_path: Path) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for piece in (b'{"a"', b": 1}\n{", b'"b": 2}\n', b"\n" + b"x" * 3_000_000 + b"\n"):
            await answer.write(piece)
            await asyncio.sleep(0.01)
        return answer

    async with connected(tmp_path, handle, token="t") as transport, transport.stream(Request("GET", "/x")) as stream:
        lines = [line async for line in stream.lines]

    assert lines[:2] == [b'{"a": 1}', b'{"b": 2}']
    assert [len(line) for line in lines[2:]] == [3_000_000]


@pytest.mark.parametrize("fault", ["cut", "silent"])
async def test_a_stream_that_is_cut_or_falls_silent_is_unreachable(tmp_path: Path, fault: str) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"line\nhalf a li")
        if fault == "silent":
            await asyncio.sleep(30)
        assert request.transport is not None
        request.transport.abort()
        return answer

    lines: list[bytes] = []

    async def read(transport: KubernetesTransport) -> None:
        async with transport.stream(Request("GET", "/x", read_timeout_seconds=0.3)) as stream:
            async for line in stream.lines:
                lines.append(line)

    async with connected(tmp_path, handle, token="t") as transport:
        with pytest.raises(Unreachable):
            await read(transport)

    assert lines == [b"line"]


@pytest.mark.parametrize(
    ("server", "cluster", "message"),
    [
        pytest.param("http://cluster.example", {}, "not https", id="plain text"),
        pytest.param("https://cluster.example", {"insecure-skip-tls-verify": True}, "anybody could pose as the cluster", id="unverified"),
        pytest.param("https://c.example", {"certificate-authority": "/none"}, "cannot be read: File does not exists: /none", id="no CA"),
    ],
)
async def test_an_unsafe_or_broken_kubeconfig_is_refused(tmp_path: Path, server: str, cluster: dict[str, Any], message: str) -> None:
    with pytest.raises(ConnectionSettingsError, match=message):
        await KubernetesTransport.connect(kubeconfig(tmp_path, server, cluster=cluster, token="t"))


async def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConnectionSettingsError, match="missing: no such file; set KUBECONFIG"):
        await KubernetesTransport.connect(tmp_path / "missing")


async def test_a_request_gets_through_beside_the_watches_of_as_many_namespaces_as_may_be_named(tmp_path: Path) -> None:
    watches, opened, done = 9 * NAMESPACES_MAX, 0, asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal opened
        if request.path != "/watch":
            return web.json_response({})
        response = web.StreamResponse()
        await response.prepare(request)
        opened += 1
        await done.wait()
        return response

    async def watch(transport: KubernetesTransport) -> None:
        async with transport.stream(Request("GET", "/watch")):
            await done.wait()

    async with connected(tmp_path, handle) as transport, asyncio.TaskGroup() as group:
        try:
            for _ in range(watches):
                group.create_task(watch(transport))
            # What waits for a connection would not fail within any test's patience: the time-out of a stream is longer.
            await until(lambda: opened == watches)
            renewal = await transport.send(Request("PUT", "/lease", body={}, read_timeout_seconds=2.0))
            assert renewal.status == 200
        finally:
            done.set()
