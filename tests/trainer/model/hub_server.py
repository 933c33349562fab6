"""A small server that speaks as much of the Hugging Face hub's HTTP as the client uses, on the loopback interface.

It serves the files of a folder under one commit, and of others under further ones: `history` and `main` can be changed while it runs. Its
behavior can be set: open, gated, private, missing, failing, silent.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GOOD_TOKEN = "hf_good"
NAME = "acme/tiny"


class Behavior(StrEnum):
    """What the server does with a request; GATED and PRIVATE let the good token in."""

    OPEN = "open"
    GATED = "gated"
    PRIVATE = "private"
    FAILING = "failing"
    SILENT = "silent"


class HubServer(ThreadingHTTPServer):
    """The hub with one model, acme/tiny, whose files are those of `folder`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path, behavior: Behavior) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.behavior = folder, behavior
        self.history, self.main = {COMMIT: folder}, COMMIT
        self.names: dict[str, str] = {}
        """Commits by branch or tag, beside main."""
        self.requests: list[str] = []
        self.released = threading.Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """Answers model_info, the tree, and HEAD and GET of files."""

    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append(f"{self.command} {path}")
        if self.server.behavior is Behavior.SILENT:
            self.server.released.wait(60)
            self.close_connection = True
            return None
        if self.server.behavior is Behavior.FAILING:
            return self.send(503, b"down for maintenance")
        allowed = self.headers.get("authorization") == f"Bearer {GOOD_TOKEN}"
        if self.server.behavior is Behavior.PRIVATE and not allowed:
            return self.send(401, b"", {"X-Error-Message": "Invalid username or password."})
        if path.startswith(f"/api/models/{NAME}"):
            return self.describe(path.removeprefix(f"/api/models/{NAME}"))
        if path.startswith(f"/{NAME}/resolve/"):
            if self.server.behavior is Behavior.GATED and not allowed:
                return self.send(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": f"Access to model {NAME} is restricted."})
            revision, _, file = path.removeprefix(f"/{NAME}/resolve/").partition("/")
            return self.file(revision, file)
        return self.send(404, b"", {"X-Error-Code": "RepoNotFound"})

    def at(self, revision: str) -> tuple[str, Path | None]:
        """Return the commit that a revision means, and its files; None if there is no such revision."""
        name = unquote(revision)
        commit = self.server.main if name in ("", "main") else self.server.names.get(name, name)
        return commit, self.server.history.get(commit)

    def describe(self, rest: str) -> None:
        _, kind, revision, *_ = [*rest.split("/"), "", "", ""]
        commit, folder = self.at(revision)
        if folder is None:
            return self.send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        files = sorted(folder.iterdir())
        if kind == "tree":
            tree = [{"type": "file", "path": file.name, "size": file.stat().st_size, "oid": etag_of(file)} for file in files]
            return self.send_json(tree)
        gated = "manual" if self.server.behavior is Behavior.GATED else False
        info = {"id": NAME, "modelId": NAME, "sha": commit, "gated": gated, "siblings": [{"rfilename": file.name} for file in files]}
        return self.send_json(info)

    def file(self, revision: str, name: str) -> None:
        commit, folder = self.at(revision)
        if folder is None:
            return self.send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        file = folder / name
        if not file.is_file():
            return self.send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        return self.send(200, file.read_bytes(), {"ETag": f'"{etag_of(file)}"', "X-Repo-Commit": commit})

    def send_json(self, value: Any) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  (the base class's name)
        """Say nothing: requests are recorded on the server."""


def etag_of(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()  # noqa: S324  (as git names a file)


Hub = TypeVar("Hub", bound=HubServer)


@contextmanager
def hub_server(folder: Path, behavior: Behavior = Behavior.OPEN) -> Iterator[HubServer]:
    """Run the hub for as long as the block lasts."""
    with serving(HubServer(folder, behavior)) as server:
        yield server


@contextmanager
def serving(server: Hub) -> Iterator[Hub]:
    """Run a hub of any kind in a thread for as long as the block lasts."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
