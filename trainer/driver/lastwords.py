"""The last lines of what failed, for the record: a rank, which may have been killed and can tell nobody itself, or the driver.

Those of a rank whose process is gone are read from the log that its follower keeps in the output, which may hang or be gone: it is
waited for a bounded time. They also end the driver's log. Tests: tests/trainer/driver/test_lastwords.py (one with real Ray).
"""

import logging
import os
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from finetune.api.record import LOG_LINE_MAX, LOG_LINES_MAX
from finetune.api.results import LOGS
from finetune.api.trainconfig import TrainConfig
from finetune.system.files import whole_letters
from finetune.system.hubaccess import kept_tokens
from finetune.system.redaction import printable, redact, secret_values
from trainer.driver.exits import cause_of, dead_ranks, told_by
from trainer.logs.following import END_OF_LOG
from trainer.logs.starting import log_of, rank_name

logger = logging.getLogger(__name__)

RANKS_SHOWN = 3
PATIENCE_SECONDS = 3.0
"""A follower copies the end of its log half a second after the end of its rank; a pod that is gone took it along."""
READ_BYTES = 64 * 2**10


def last_words_of(config: TrainConfig, error: BaseException, patience_seconds: float = PATIENCE_SECONDS) -> list[str]:
    """Return the last lines of what explains a failure, as a record has them; log those of ranks that died, and where logs are kept."""
    rank, cause = cause_of(error)
    dead = dead_ranks(error)[:RANKS_SHOWN]
    logs = last_lines({number: log_of(config, rank_name(number)) for number in dead}, LOG_LINES_MAX, patience_seconds)
    for number, lines in logs.items():
        logger.error("the log of rank %d ends with:%s", number, "".join(f"\n  {line}" for line in lines))
    folder = log_of(config, "").parent
    if config.on_cluster and _has_ranks(folder, patience_seconds):
        logger.error("the logs of ranks are in the folder %s/%s of the output", LOGS, folder.name)
    if rank is None:
        return presentable("".join(traceback.format_exception(cause)))
    return presentable("\n".join(logs[rank]) if rank in logs else told_by(error, rank))


def presentable(text: str) -> list[str]:
    """Return the last lines as a record takes them: few, short, without secrets."""
    lines = redact(printable(whole_letters(text)), secret_values(os.environ | kept_tokens())).splitlines()
    return [line.rstrip()[:LOG_LINE_MAX] for line in lines if line.strip()][-LOG_LINES_MAX:]


def last_lines(logs: dict[int, Path], number: int, patience_seconds: float) -> dict[int, list[str]]:
    """Return so many last lines of each log, once its follower has written the end of it, which is not among them.

    None of a log that cannot be read in time.
    """
    found: dict[int, list[str]] = {}
    if not logs:
        return found

    def read() -> None:
        deadline = time.monotonic() + patience_seconds
        while time.monotonic() < deadline and not all(lines and lines[-1].startswith(END_OF_LOG) for lines in map(found.get, logs)):
            for rank, path in logs.items():
                found[rank] = _end_of(path)
            time.sleep(0.1)

    _try(read, patience_seconds + 1.0)
    own = {rank: [line for line in lines if not line.startswith(END_OF_LOG)] for rank, lines in sorted(found.items())}
    return {rank: lines[-number:] for rank, lines in own.items() if lines}


def _has_ranks(folder: Path, patience_seconds: float) -> bool:
    """Return whether a folder has logs of ranks; False where the disk does not say so in time."""
    found: list[Path] = []
    _try(lambda: found.extend(folder.glob("rank-*.log")), patience_seconds)
    return bool(found)


def _try(read: Callable[[], None], seconds: float) -> None:
    """Do what may hang with the disk, and wait for it no longer than so many seconds."""
    reader = threading.Thread(target=read, name="last words", daemon=True)
    reader.start()
    reader.join(seconds)


def _end_of(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - READ_BYTES))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
