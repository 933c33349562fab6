"""A hub with one gated model and one data set, both acme/tiny, that knows which program asks. Not a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.trainer.data.hub import DatasetHandler
from tests.trainer.model.hub_server import COMMIT, Behavior, HubServer, serving


class WatchedHub(HubServer):
    """The files of `model` and, as a data set, those of `rows`."""

    def __init__(self, model: Path, rows: Path, behavior: Behavior) -> None:
        super().__init__(model, behavior)
        self.RequestHandlerClass = WatchingHandler
        self.rows = rows
        self.askers: list[tuple[str, list[str]]] = []
        """Each request, with the command line of the program that sent it."""
        self.programs: set[psutil.Process] = set()
        """Those that sent requests."""


class WatchingHandler(DatasetHandler):
    """Notes who asks before it answers: the program waits for it meanwhile."""

    server: WatchedHub
    of_rows = False

    def do_POST(self) -> None:  # noqa: N802 - the base class's name
        self.note()
        super().do_POST()

    def answer(self) -> None:
        self.note()
        self.of_rows = "/datasets/" in self.path
        super().answer()

    def note(self) -> None:
        program = program_at(self.client_address[1])
        if program is not None:
            self.server.programs.add(program)
        self.server.askers.append((f"{self.command} {self.path}", program.cmdline() if program is not None else []))

    def at(self, revision: str) -> tuple[str, Path | None]:
        if not self.of_rows:
            return super().at(revision)
        return COMMIT, self.server.rows if revision in ("", "main", COMMIT) else None


def program_at(port: int) -> psutil.Process | None:
    """Return the program whose connection has this port at its end."""
    for connection in psutil.net_connections("tcp4"):
        if connection.laddr and connection.laddr.port == port and connection.pid is not None:
            return psutil.Process(connection.pid)
    return None


@contextmanager
def watched_hub(model: Path, rows: Path, behavior: Behavior = Behavior.GATED) -> Iterator[WatchedHub]:
    """Run the hub for as long as the block lasts."""
    with serving(WatchedHub(model, rows, behavior)) as server:
        yield server
