"""The real transport: kubernetes.aio's ApiClient with time-outs on everything and credentials that are read again.

The only module that touches the client library. It decides nothing about answers. Tests:
tests/controller/runtime/test_connection.py, tests/integration/test_runtime_client.py.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config

from controller.runtime.errors import Unreachable
from controller.runtime.transport import READ_TIMEOUT_SECONDS, Request, Response, Stream

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 10.0
RELOAD_PAUSE_SECONDS = 10.0
"""While credentials are wrong, they are not read again with every request."""
DEFAULT_KUBECONFIG = Path("~/.kube/config")
UNAUTHORIZED = 401
NO_LIMIT = 0
"""Of connections. Each open watch keeps one, nine for every watched namespace: of the library's 100 a dozen namespaces leave none, and
renewals of the lease wait until it is lost. Who sends requests is bounded: the watches, the workers, the elector."""

_guard: ContextVar[Callable[[], None] | None] = ContextVar("guard", default=None)
"""The guard of the request that this task sends: the client library has no way to pass it along."""


class ConnectionSettingsError(Exception):
    """There is no way to reach the cluster, or no safe one."""


async def load_configuration(kubeconfig: Path | None) -> kubernetes_client.Configuration:
    """Return address and credentials: from `kubeconfig`, else the pod's service account, else ~/.kube/config.

    The library reads a service account's token again every minute; the kubelet renews it every hour.
    """
    configuration = kubernetes_client.Configuration()
    try:
        if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            kubernetes_config.load_incluster_config(client_configuration=configuration)
        else:
            path = (kubeconfig or DEFAULT_KUBECONFIG).expanduser()
            if not path.is_file():
                raise ConnectionSettingsError(f"{path}: no such file; set KUBECONFIG, or run inside a cluster")
            await kubernetes_config.load_kube_config(config_file=str(path), client_configuration=configuration, persist_config=False)
    except (kubernetes_config.ConfigException, OSError, ValueError) as error:
        raise ConnectionSettingsError(f"the cluster's address or credentials cannot be read: {error}") from error
    _refuse_insecure(configuration)
    return configuration


def _refuse_insecure(configuration: kubernetes_client.Configuration) -> None:
    address = urlsplit(configuration.host)
    if address.scheme != "https" and address.hostname not in {"127.0.0.1", "::1", "localhost"}:
        raise ConnectionSettingsError(f"{configuration.host}: not https; tokens would be sent in plain text")
    if not configuration.verify_ssl:
        raise ConnectionSettingsError(
            f"{configuration.host}: insecure-skip-tls-verify is set, so anybody could pose as the cluster; give certificate-authority"
        )


class KubernetesTransport:
    """Sends requests through one ApiClient; created by `connect`."""

    def __init__(self, configuration: kubernetes_client.Configuration, kubeconfig: Path | None, user_agent: str) -> None:
        configuration.trace_configs = [_guarding()]
        configuration.connection_pool_maxsize = NO_LIMIT
        self._api = kubernetes_client.ApiClient(configuration)
        self._api.user_agent = user_agent
        self._kubeconfig = kubeconfig
        self._reloading = asyncio.Lock()
        self._reloaded_at = float("-inf")
        self._retiring: set[asyncio.Task[None]] = set()

    @classmethod
    async def connect(cls, kubeconfig: Path | None = None, *, user_agent: str = "finetune-operator") -> "KubernetesTransport":
        """Read address and credentials; no request is sent yet. ConnectionSettingsError says what is missing."""
        return cls(await load_configuration(kubeconfig), kubeconfig, user_agent)

    async def send(self, request: Request) -> Response:
        """Send and read the whole answer; Unreachable if none comes."""
        whole = CONNECT_TIMEOUT_SECONDS + request.read_timeout_seconds
        with _unreachable(request):
            answer = await self._request(request, total_seconds=whole)
            try:
                return Response(answer.status, await answer.read(), answer.headers)
            finally:
                answer.release()

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[Stream]:
        """Send and read line by line; Unreachable when the connection is cut or silent for the read time-out."""
        # Silence is what an open stream is mostly made of; a server that does not even open it is gone.
        opening_seconds = min(request.read_timeout_seconds, READ_TIMEOUT_SECONDS)
        with _unreachable(request, opening_seconds):
            async with asyncio.timeout(opening_seconds):
                answer = await self._request(request, total_seconds=None)
        try:
            yield Stream(answer.status, _lines(request, answer), answer.headers)
        finally:
            _abort(answer)

    def renew(self) -> None:
        """Connect anew for what is sent from now on; what is under way on old connections may still end well."""
        old, self._api.rest_client.pool_manager = self._api.rest_client.pool_manager, None
        if old is not None:
            retiring = asyncio.create_task(_close_later(old))
            self._retiring.add(retiring)
            retiring.add_done_callback(self._retiring.discard)

    async def close(self) -> None:
        """Close all connections."""
        for retiring in self._retiring:
            retiring.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        await self._api.close()
        # An aborted connection closes its socket in the next turn of the event loop.
        await asyncio.sleep(0)

    async def _request(self, request: Request, total_seconds: float | None) -> aiohttp.ClientResponse:
        answer = await self._request_once(request, total_seconds)
        if answer.status == UNAUTHORIZED and await self._reload_credentials():
            answer.release()
            answer = await self._request_once(request, total_seconds)
        return answer

    async def _request_once(self, request: Request, total_seconds: float | None) -> aiohttp.ClientResponse:
        # Bodies are plain JSON already: the library would copy them member by member.
        method, url, headers, _, form = await self._api.param_serialize(
            request.method,
            request.path,
            query_params=list(request.query.items()),
            header_params={"Accept": request.accept, "Content-Type": request.content_type},
            auth_settings=["BearerToken"],
        )
        timeout = aiohttp.ClientTimeout(total=total_seconds, sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=request.read_timeout_seconds)
        _guard.set(request.guard)
        answer = await self._api.call_api(method, url, headers, request.body, form, _request_timeout=timeout)
        response: aiohttp.ClientResponse = answer.response
        return response

    async def _reload_credentials(self) -> bool:
        """Read the credentials again, so that a rotated token or an `exec` plugin's new one is used; False if that was just done."""
        async with self._reloading:
            now = time.monotonic()
            if now - self._reloaded_at < RELOAD_PAUSE_SECONDS:
                return False
            self._reloaded_at = now
            try:
                fresh = await load_configuration(self._kubeconfig)
            except ConnectionSettingsError as error:
                log.warning("credentials could not be read again", extra={"error": str(error)})
                return False
            self._api.configuration.api_key = fresh.api_key
            self._api.configuration.refresh_api_key_hook = fresh.refresh_api_key_hook
            return True


def _guarding() -> aiohttp.TraceConfig:
    """Return a trace that calls the guard of each request right before its headers are written, and passes its error on.

    Waiting for a connection may take seconds, and aiohttp resends some requests by itself when a connection is lost.
    """

    async def ask(session: object, context: object, parameters: object) -> None:
        guard = _guard.get()
        if guard is not None:
            guard()

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(ask)
    return trace


async def _close_later(session: aiohttp.ClientSession) -> None:
    """Close a session once none of its requests can still be answered in time."""
    try:
        await asyncio.sleep(CONNECT_TIMEOUT_SECONDS + READ_TIMEOUT_SECONDS)
    finally:
        await session.close()


def _abort(answer: aiohttp.ClientResponse) -> None:
    """Drop the connection of a stream that nobody reads to its end, without a TLS shutdown: the peer may be long dead."""
    connection = answer.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    answer.close()


async def _lines(request: Request, answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the lines of an answer, without a last one that was cut off: a watch ends every line with a newline."""
    rest = b""
    with _unreachable(request):
        async for chunk in answer.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line:
                    yield line
    if rest:
        yield rest


@contextmanager
def _unreachable(request: Request, seconds: float | None = None) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise Unreachable(f"{request}: no answer within {seconds or request.read_timeout_seconds:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unreachable(f"{request}: {type(error).__name__}: {error}") from error
