"""The HTTP server for the kubelet's probes and for Prometheus: /healthz, /readyz, /metrics.

An answer says what is wrong, so that `curl` shows it too. Tests: tests/controller/runtime/test_health.py.
"""

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from controller.runtime.metrics import Metrics

Check = Callable[[], Sequence[str]]
"""Returns what is wrong, one message each; empty if all is well."""


class HealthServer:
    """Serves while it is entered: `async with HealthServer(…) as server`.

    `live` says why the process should be restarted, `ready` why it cannot work yet, and `remarks` what the answer about readiness says
    besides. Any answer shows that the event loop runs.
    """

    def __init__(self, host: str, port: int, *, live: Check, ready: Check, metrics: Metrics, remarks: Check = tuple) -> None:
        self._host = host
        self._port = port
        self._metrics = metrics
        application = web.Application()
        application.router.add_get("/healthz", _handler(live))
        application.router.add_get("/readyz", _handler(ready, remarks))
        application.router.add_get("/metrics", self._serve_metrics)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)

    @property
    def port(self) -> int:
        """The port that is served, also where 0 was requested."""
        return int(self._runner.addresses[0][1])

    async def __aenter__(self) -> "HealthServer":
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._runner.cleanup()

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _handler(check: Check, remarks: Check = tuple) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.Response:
        problems = check()
        return web.Response(text="\n".join([*(problems or ["ok"]), *remarks()]) + "\n", status=503 if problems else 200)

    return answer
