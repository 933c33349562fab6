"""Ends the driver's log with what ranks wrote last whose process is gone: they can tell nobody themselves.

The last lines of the driver's log become `logTail` of the attempt in a job's status. Reads the logs that followers keep in the output,
which may hang or be gone, so it waits for a bounded time. Tests: tests/trainer/driver/test_lastwords.py (one with real Ray).
"""

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from finetune.api.results import LOGS
from finetune.api.trainconfig import TrainConfig
from trainer.driver.exits import dead_ranks
from trainer.logs.following import END_OF_LOG
from trainer.logs.starting import log_of, rank_name

logger = logging.getLogger(__name__)

LINES = 16
"""Of all ranks together: a status keeps 20 lines, and these have a line before each rank, and one after them."""
RANKS_SHOWN = 3
PATIENCE_SECONDS = 3.0
"""A follower copies the end of its log half a second after the end of its rank; a pod that is gone took it along."""
READ_BYTES = 64 * 2**10


def show_last_words(config: TrainConfig, error: BaseException, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Log the last lines of the ranks that died, and where all logs are. Never raises."""
    dead = dead_ranks(error)
    if dead:
        logs = {rank: log_of(config, rank_name(rank)) for rank in dead[:RANKS_SHOWN]}
        for rank, lines in last_lines(logs, LINES // len(logs), patience_seconds).items():
            logger.error("the log of rank %d ends with:%s", rank, "".join(f"\n  {line}" for line in lines))
    if config.on_cluster:
        logger.error("the logs of all ranks are in the folder %s/%s of the output", LOGS, log_of(config, "").parent.name)


def last_lines(logs: Mapping[int, Path], number: int, patience_seconds: float) -> dict[int, list[str]]:
    """Return so many last lines of each log, once its follower has written the end of it; none of a log that cannot be read in time."""
    found: dict[int, list[str]] = {}

    def read() -> None:
        deadline = time.monotonic() + patience_seconds
        while time.monotonic() < deadline and not all(lines and lines[-1].startswith(END_OF_LOG) for lines in map(found.get, logs)):
            for rank, path in logs.items():
                found[rank] = _end_of(path)[-number:]
            time.sleep(0.1)

    reader = threading.Thread(target=read, name="last words", daemon=True)  # it may hang with the disk
    reader.start()
    reader.join(patience_seconds + 1.0)
    return {rank: lines for rank, lines in sorted(found.items()) if lines}


def _end_of(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - READ_BYTES))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
