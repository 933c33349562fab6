"""What `helm test` runs: it asks the controller whether it is ready, and its failure says what to look at.

The real `helm test` is part of the test of upgrades in `test_helm_releases.py`.
"""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.cluster.processes import free_ports
from tests.packaging.rendered import CHART

SCRIPT = CHART / "files/ask_readiness.py"


def ask(url: str, seconds: float, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPT), url, str(seconds)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def answering() -> Iterator[Callable[..., str]]:
    """Return a function that serves these answers one after the other, the last one for good; it returns the URL."""
    servers: list[HTTPServer] = []

    def serve(*answers: tuple[int, str]) -> str:
        left = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, text = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/readyz"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_controller_that_becomes_ready_passes(answering: Callable[..., str]) -> None:
    done = ask(answering((503, "pods: not listed yet\n"), (200, "ok\n")), 30)
    assert (done.returncode, done.stdout) == (0, "the controller is ready: ok\n")


def test_one_that_does_not_fails_with_its_own_words(answering: Callable[..., str]) -> None:
    done = ask(answering((503, "finetunejobs.finetune.dev: the cluster does not serve it\n")), 0)
    assert done.returncode == 1
    assert done.stderr == "the controller is not ready: finetunejobs.finetune.dev: the cluster does not serve it\n"


def test_one_that_does_not_answer_fails_with_where_to_look() -> None:
    [port] = free_ports(1, "127.0.0.1")
    done = ask(f"http://127.0.0.1:{port}/readyz", 0)
    assert done.returncode == 1
    assert f"does not answer at http://127.0.0.1:{port}/readyz" in done.stderr
    assert "kubectl logs" in done.stderr


def test_a_proxy_of_the_image_does_not_see_the_request(answering: Callable[..., str]) -> None:
    proxy = answering((502, "from the proxy"))
    done = ask(answering((200, "ok")), 0, http_proxy=proxy, HTTP_PROXY=proxy)
    assert done.returncode == 0, done.stderr
