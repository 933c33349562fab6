"""Starts the program that keeps this process's log in the output, and says where the logs of an attempt are.

The program is given absolute paths and an empty path of modules but ours: it imports nothing of the user's, nor Ray or torch.
Test: tests/trainer/logs/test_starting.py, tests/trainer/driver/test_lastwords.py (real Ray).
"""

import logging
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

from finetune.api.results import LOGS
from finetune.api.trainconfig import TrainConfig
from finetune.system.hubaccess import kept_tokens
from finetune.system.interpreter import ROOT
from trainer.logs.following import Watched
from trainer.logs.kept import folder_of_attempt

logger = logging.getLogger(__name__)

PROGRAM = "import sys; sys.path.append(sys.argv.pop(1)); from trainer.logs.following import main; main()"
DRIVER = "driver"


def logs_folder(config: TrainConfig) -> Path:
    """Return the folder of the logs of all attempts; further runs of a job write to that of the job's own."""
    return Path(config.output.directory if config.derived is None else config.derived.main) / LOGS


def log_of(config: TrainConfig, name: str) -> Path:
    """Return the log of the driver or of a rank in this attempt."""
    return folder_of_attempt(logs_folder(config), config.job.attempt) / f"{name}.log"


def rank_name(rank: int) -> str:
    """Return what the log of a rank is called."""
    return f"rank-{rank}"


def keep_log(config: TrainConfig, name: str, title: str) -> bool:
    """Have a program of its own copy all that this process has written and will write. Returns whether it was started; never raises."""
    sources = written_files()
    if not sources:
        logger.info("the log of %s is not kept in the output: it is written to no file that could be read", title)
        return False
    if config.derived is not None:
        title = f"{title}, {config.derived.name},"
    own = Watched.of(os.getpid())
    options = {"--logs": logs_folder(config), "--attempt": config.job.attempt, "--name": f"{name}.log", "--title": title,
               "--pid": own.pid, "--started": own.started}  # fmt: skip
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, str(ROOT), *(str(part) for pair in options.items() for part in pair), *sources]
    try:
        # What was taken out of the environment must not come into the log either.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd="/", start_new_session=True, env=os.environ | kept_tokens())
    except OSError as error:
        logger.warning("the log of %s is not kept in the output: %s", title, error)
        return False
    threading.Thread(target=process.wait, name="follower", daemon=True).start()  # it leaves at once, and its child stays
    return True


def written_files() -> list[str]:
    """Return the files that stdout and stderr of this process go to, each once; none where they are no files, or without a /proc."""
    found: dict[tuple[int, int], str] = {}
    for descriptor in (1, 2):
        try:
            about, path = os.fstat(descriptor), os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            continue
        if stat.S_ISREG(about.st_mode) and os.path.isfile(path):
            found.setdefault((about.st_dev, about.st_ino), path)
    return list(found.values())
