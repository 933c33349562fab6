"""The Ray dashboard as a person sees it: answers with and without the token, and pages by headless Chromium."""

import base64
import html.parser
import http.server
import shutil
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.kubectl import Kubectl

TOKEN_HEADER = "x-ray-authorization"
CHROMIUM_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-proxy-server", "--hide-scrollbars", "--window-size=1500,1100",
    "--virtual-time-budget=15000",
]  # fmt: skip
# Elements that a reader sees apart; what is left of a page is words in a line.
APART = frozenset({"p", "div", "td", "th", "tr", "li", "br", "h1", "h2", "h3", "h4", "h5", "h6", "button", "label"})
UNSEEN = frozenset({"script", "style", "title"})
# The pods' addresses are this machine's: a proxy of the environment must not see the request, nor the token.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Dashboard:
    """The dashboard of one Ray cluster, reached by its head pod's address."""

    def __init__(self, kubectl: Kubectl, job: str) -> None:
        status = kubectl.status(job)
        self.secret = status["dashboard"]["tokenSecret"]
        self.token = base64.b64decode(kubectl.get("secret", self.secret)["data"]["auth_token"]).decode()
        attempt = status["attempts"][-1]["number"]
        head = kubectl.pods(job, "head", attempt)[0]
        self.url = f"http://{head['status']['podIP']}:{status['dashboard']['port']}"

    def get(self, path: str, *, with_token: bool = True) -> tuple[int, str]:
        """Return status code and body of a GET."""
        headers = {TOKEN_HEADER: f"Bearer {self.token}"} if with_token else {}
        try:
            with OPENER.open(urllib.request.Request(self.url + path, headers=headers), timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")

    def show(self, path: str, picture: Path) -> str:
        """Write a picture of a page and return its text; a proxy on the loopback adds the token, as a browser extension would."""
        picture.parent.mkdir(parents=True, exist_ok=True)
        with token_proxy(self.url, self.token) as address:
            return visible_text(browse(address + path, picture))


def browse(address: str, picture: Path) -> str:
    """Let Chromium load a page with all that its scripts fetch, write a picture of it, and return its document."""
    program = shutil.which("chromium")
    if program is None:
        raise RuntimeError("no chromium on this machine; on Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        command = [program, *CHROMIUM_FLAGS, f"--user-data-dir={profile}", f"--screenshot={picture}", "--dump-dom", address]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def visible_text(document: str) -> str:
    """Return the text of a page, a line for each piece that a reader sees apart."""
    reader = _TextReader()
    reader.feed(document)
    return "\n".join(line for line in ("".join(reader.pieces)).splitlines() if line.strip())


class _TextReader(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._unseen += tag in UNSEEN
        if tag in APART:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in UNSEEN

    def handle_data(self, data: str) -> None:
        if self._unseen == 0:
            self.pieces.append(data)


@contextmanager
def token_proxy(target: str, token: str) -> Iterator[str]:
    """Serve `target` on the loopback with the token on every request."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            request = urllib.request.Request(target + self.path, headers={TOKEN_HEADER: f"Bearer {token}"})
            try:
                with OPENER.open(request, timeout=30) as answer:
                    self._answer(answer.status, answer.headers.get("Content-Type", "text/plain"), answer.read())
            except urllib.error.HTTPError as error:
                self._answer(error.code, "text/plain", error.read())

        def _answer(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            """Keep the test's output clean."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def scrape(kubectl: Kubectl, job: str, port: int = 8080) -> str:
    """Return what Prometheus would read from the metrics ports of a job's head and workers."""
    texts = []
    for pod in [*kubectl.pods(job, "head"), *kubectl.pods(job, "worker")]:
        address = pod["status"].get("podIP")
        if address:
            try:
                with OPENER.open(f"http://{address}:{port}/metrics", timeout=10) as answer:
                    texts.append(answer.read().decode())
            except OSError:
                continue
    return "\n".join(texts)
