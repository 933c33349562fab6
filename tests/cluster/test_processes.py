"""What `down` must never get wrong: whom it ends, and whom it leaves alone."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster import processes
from tests.cluster.processes import ProcessError, ProcessIdentity, ProcessTable, free_ports, stop

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
]


@pytest.fixture
def table(tmp_path: Path) -> Iterator[ProcessTable]:
    table = ProcessTable(tmp_path)
    yield table
    table.stop_all()


def test_a_later_process_stops_what_is_on_record(table: ProcessTable, tmp_path: Path) -> None:
    identity = table.start("sleeper", SLEEPER)
    assert identity.alive()
    ProcessTable(tmp_path).stop_all()
    assert not identity.alive()
    assert ProcessTable(tmp_path).names() == []


def test_a_reused_pid_is_left_alone() -> None:
    with subprocess.Popen(SLEEPER) as other:
        known = ProcessIdentity.of(other.pid)
        stop(replace(known, start_ticks=known.start_ticks - 1))
        assert known.alive()
        other.kill()


def test_a_process_that_ignores_sigterm_is_killed(table: ProcessTable) -> None:
    identity = table.start("stubborn", STUBBORN)
    table.wait_until("stubborn", lambda: "deaf" in table.log_tail("stubborn"), "it ignored SIGTERM")
    table.stop("stubborn", seconds=0.2)
    assert not identity.alive()


def test_the_children_of_a_process_end_with_it(table: ProcessTable) -> None:
    script = f"import subprocess, time; print(subprocess.Popen({SLEEPER!r}).pid, flush=True); time.sleep(60)"
    table.start("parent", [sys.executable, "-c", script])
    table.wait_until("parent", lambda: table.log_tail("parent").isdigit(), "it had a child")
    child = ProcessIdentity.of(int(table.log_tail("parent")))
    assert child.alive()
    table.stop("parent")
    deadline = time.monotonic() + 5.0  # a killed process that nobody waits for takes a moment to be gone
    while child.alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not child.alive()


def test_an_early_end_is_reported_with_the_log(table: ProcessTable) -> None:
    table.start("broken", [sys.executable, "-c", "raise SystemExit('no such flag')"])
    with pytest.raises(ProcessError, match="broken ended before it was ready; its log ends:\nno such flag"):
        table.wait_until("broken", lambda: False, "it was ready")


def test_ports_are_all_different() -> None:
    assert len(set(free_ports(20))) == 20


def test_the_kernel_gives_no_chosen_port_to_a_program_that_asks_for_any() -> None:
    first, last = (int(port) for port in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not [port for port in free_ports(20) if first <= port <= last]


def test_a_port_on_which_somebody_listens_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        [port] = free_ports(1)
        taken.bind(("127.0.0.1", port))
        monkeypatch.setattr(processes, "SERVER_PORTS", range(port, port + 1))
        with pytest.raises(ProcessError, match="fewer than 1 free ports"):
            free_ports(1)
