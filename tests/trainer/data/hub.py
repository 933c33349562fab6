"""The small hub of the model tests, serving a data set instead: the same files under the addresses of data sets.

`datasets` reads the hub's address at import, so tests ask it from a process of its own.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs

from tests.trainer.model.hub_server import NAME, Behavior, Handler, HubServer, etag_of, serving


class DatasetHandler(Handler):
    """Answers dataset_info, the tree, paths-info, and HEAD and GET of files."""

    def answer(self) -> None:
        self.path = self.path.replace("/api/datasets/", "/api/models/").replace(f"/datasets/{NAME}/", f"/{NAME}/")
        super().answer()

    def do_POST(self) -> None:  # noqa: N802 - the base class's name
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        wanted = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body).get("paths", [])
        files = [self.server.folder / path for path in wanted]
        found = [{"type": "file", "path": file.name, "size": file.stat().st_size, "oid": etag_of(file)} for file in files if file.is_file()]
        self.send_json(found)


@contextmanager
def dataset_hub(folder: Path, behavior: Behavior = Behavior.OPEN) -> Iterator[HubServer]:
    """Run the hub for as long as the block lasts."""
    server = HubServer(folder, behavior)
    server.RequestHandlerClass = DatasetHandler
    with serving(server):
        yield server
