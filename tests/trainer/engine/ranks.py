"""Starts a program as several ranks, each a process of its own, for tests of what only processes show."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.repository import REPOSITORY

RANKS_SECONDS = 480


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start_ranks(world_size: int, *command: str) -> list[subprocess.Popen[str]]:
    """Start `python COMMAND` as each rank; the caller ends those that are left."""
    base = os.environ | {
        "WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "LOCAL_SIZE": str(world_size),
        "OMP_NUM_THREADS": "1",
        "DS_ACCELERATOR": "cpu",
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONWARNINGS": "default",
    }
    return [
        subprocess.Popen(
            [sys.executable, *command], env=base | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, stdout=subprocess.DEVNULL,
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
