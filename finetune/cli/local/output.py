"""The folder given by --output: one writer at a time, whose run it holds, and how a run is removed.

Only what a run itself writes is ever removed. Tests: tests/finetune/cli/local/test_output.py.
"""

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetune.api.errors import BadInputError, InputError
from finetune.api.lineage import differing_field, without_length
from finetune.api.results import LOGS
from finetune.api.trainconfig import TrainConfig
from finetune.cli.local.configuration import Folders
from finetune.cli.local.earlier import not_longer
from finetune.system.files import staged

# run.json is the last to go: as long as it is there, a half-removed run is still known as a run.
OWN_FILES = (
    "checkpoints",
    "model",
    "ablations",
    "adaptation",
    "tensorboard",
    "report.json",
    "predictions.jsonl",
    "measurement.json",
    "metrics.jsonl",
    "status.json",
    "trainer.log",
    "run.json",
)
EARLIER_REPORTS = "report-[0-9]*.json"
"""What a run that was continued keeps of the reports before."""
ATTEMPTS = f"{LOGS}/attempt-[0-9]*"
"""The folders of the ranks' logs; beside them there may be logs of other programs."""
OWN_PRIVATE_FILES = ("progress.json", "dashboard.json", "configmaps", "config.json")
"""All in the folder of the command but the lock and the tokens (finetune.system.scratch.DATA): the names of the tokens say what they
were made from, so that the run that replaces this one takes those that fit; the trainer removes the others once its input has passed."""
ABANDONED_RUN_SECONDS = 20.0
"""A run whose `finetune` was killed holds the folder until its last process is gone, which takes 5 to 10 seconds."""


class OutputBusyError(Exception):
    """Another command writes the folder."""


@contextlib.contextmanager
def locked(folders: Folders, wait_seconds: float = ABANDONED_RUN_SECONDS, field: str = "--output") -> Iterator[int]:
    """Hold the folder alone; yields the descriptor of the lock, which whoever inherits it holds too.

    Raises OutputBusyError, which names `field` and the pid of the command that has it: a run or an export.
    """
    folders.private.mkdir(parents=True, exist_ok=True)
    lock = os.open(folders.private / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + wait_seconds
        while not _try_lock(lock):
            pid = _holder(lock)
            if pid is None or _lives(pid) or time.monotonic() > deadline:
                who = f"by the `finetune` command with pid {pid}" if pid is not None else "by another `finetune` command"
                raise OutputBusyError(f"{field}: {folders.output} is being written {who}; wait until it ends or give another folder")
            time.sleep(0.1)
        _write_holder(lock, str(os.getpid()))
        yield lock
        _write_holder(lock, "")
    finally:
        os.close(lock)


def previous_run_finished(folders: Folders, config: TrainConfig) -> bool:
    """Return whether the folder holds a finished run of this configuration; BadInputError if what it holds is another's.

    The trainer, which can read rows and weights, checks whether those are still the same.
    """
    fix = "give another --output, or start over with --overwrite"
    run_file = folders.output / "run.json"
    if not run_file.is_file():
        if config.lengthen:
            raise BadInputError([InputError("--continue", f"{folders.output} holds no run to continue", "leave --continue out")])
        return False
    written = _read_run(run_file)
    owner = written.get("owner", {})
    if owner.get("uid") is not None or owner.get("name") != config.job.name:
        problem = f"{folders.output} holds a run of the job {owner.get('name')!r}"
        raise BadInputError([InputError("metadata.name", f"{config.job.name!r} is another job: {problem}", fix)])
    recorded, wanted = written.get("lineage", {}), config.lineage()
    field = differing_field(recorded, wanted)
    if field is not None and differing_field(without_length(recorded), without_length(wanted)) is None:
        if config.lengthen:
            _refuse(not_longer(recorded, wanted, folders.output))
            return False
        fix = f"{fix}; to train the run in that folder for longer, add --continue"
    elif config.lengthen:
        field = differing_field(without_length(recorded), without_length(wanted))
    if field is None and config.lengthen and written.get("finished"):
        _refuse(not_longer(recorded, wanted, folders.output))
    if field is not None:
        raise BadInputError([InputError(f"spec.{field}", f"is not what it was in the run that {folders.output} holds", fix)])
    return bool(written.get("finished"))


def refuse_foreign_files(folders: Folders) -> None:
    """Raise BadInputError where there is a file with a run's name that no run wrote: it would be overwritten."""
    if (folders.output / "run.json").is_file() or folders.config.is_file():
        return
    foreign = [name for name in own_files(folders.output) if (folders.output / name).exists()]
    if foreign:
        problem = f"{folders.output} has {', '.join(foreign)}, which no run of finetune wrote"
        raise BadInputError([InputError("--output", problem, "give another folder")])


def remove_run(folders: Folders) -> None:
    """Remove what a run wrote, nothing else; of a link the link alone."""
    written = [*(folders.output / name for name in own_files(folders.output)), *(folders.private / name for name in OWN_PRIVATE_FILES)]
    # What a killed writer left of a file goes first: run.json has to be the last.
    for path in [*map(staged, written), *written]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    leave_logs(folders)


def leave_logs(folders: Folders) -> None:
    """Remove the folder of logs if nothing is left in it."""
    with contextlib.suppress(OSError):
        (folders.output / LOGS).rmdir()


def own_files(output: Path) -> list[str]:
    """Return the names that a run writes in its folder, run.json last."""
    logs = LOGS if (output / LOGS).is_symlink() else ATTEMPTS  # of a link the link alone
    found = sorted(path for pattern in (EARLIER_REPORTS, logs) for path in output.glob(pattern))
    return [*(str(path.relative_to(output)) for path in found), *OWN_FILES]


def _refuse(error: InputError | None) -> None:
    if error is not None:
        raise BadInputError([error])


def _read_run(run_file: Path) -> dict[str, Any]:
    try:
        written = json.loads(run_file.read_text(encoding="utf-8"))
    except ValueError:
        written = None
    if not isinstance(written, dict) or not all(isinstance(written.get(part, {}), dict) for part in ("owner", "lineage")):
        raise BadInputError([InputError("--output", f"{run_file} is damaged", "give another folder, or start over with --overwrite")])
    return written


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(lock: int) -> int | None:
    text = os.pread(lock, 32, 0).strip()
    return int(text) if text.isdigit() else None


def _write_holder(lock: int, text: str) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, text.encode(), 0)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
