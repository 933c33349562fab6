"""Starts a program as several ranks, each a process of its own, for tests of what only processes show."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.repository import REPOSITORY

RANKS_SECONDS = 480
FORKING = Path(__file__).with_name("forking.py")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "default"}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def environment_of(rank: int, world_size: int, port: int) -> dict[str, str]:
    """Return the variables by which a process knows which rank it is."""
    sizes = {"WORLD_SIZE": str(world_size), "LOCAL_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return sizes | {"RANK": str(rank), "LOCAL_RANK": str(rank)}


def start_ranks(world_size: int, *command: str) -> list[subprocess.Popen[str]]:
    """Start `python COMMAND` as each rank; the caller ends those that are left."""
    port = free_port()
    return [
        subprocess.Popen(
            [sys.executable, *command], env=os.environ | ENVIRONMENT | environment_of(rank, world_size, port), stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )
        for rank in range(world_size)
    ]  # fmt: skip


def end_ranks(ranks: list[subprocess.Popen[str]]) -> None:
    """Kill the ranks that still run: one that is left waits for the others until the collective's own limit."""
    for rank in ranks:
        if rank.poll() is None:
            rank.kill()
            rank.communicate()


def run_ranks(world_size: int, output: Path, *command: str) -> dict[str, Any]:
    """Run `python COMMAND OUTPUT` as each rank, and return what rank 0 wrote to `output` as JSON."""
    ranks = start_ranks(world_size, *command, str(output))
    try:
        errors = [rank.communicate(timeout=RANKS_SECONDS)[1] for rank in ranks]
    finally:
        end_ranks(ranks)
    assert [rank.returncode for rank in ranks] == [0] * world_size, "\n".join(error[-3000:] for error in errors)
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def fork_ranks(program: Path, folder: Path, world_sizes: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Run `python PROGRAM OUTPUT` as so many ranks, for one number after another; return what rank 0 wrote to each OUTPUT, in `folder`."""
    command = [sys.executable, str(FORKING), str(program), str(folder), *map(str, world_sizes)]
    started = subprocess.Popen(
        command, env=os.environ | ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        _, errors = started.communicate(timeout=RANKS_SECONDS * len(world_sizes) + 10)  # it ends ranks that are late, and says so
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
            started.communicate()
    assert started.returncode == 0, errors[-6000:]
    return {world_size: json.loads((folder / f"{world_size}.json").read_text()) for world_size in world_sizes}
