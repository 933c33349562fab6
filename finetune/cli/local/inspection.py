"""Asks the trainer what it finds in a job's input, without a run: for `finetune check`, and for a run that is finished.

Tests: tests/finetune/cli/test_check.py, tests/finetune/cli/local/test_run.py.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from finetune.api.errors import BadInputError
from finetune.api.record import Outcome, ProgressRecord, Result
from finetune.cli.local.configuration import Folders, LocalRun, prepare
from finetune.cli.local.follow import outcome_of_exit
from finetune.cli.local.outcome import LogTail, input_errors
from finetune.cli.local.process import TrainerProcess
from finetune.cli.local.surroundings import Surroundings


def ask_trainer(local_run: LocalRun, folders: Folders, trainer: Sequence[str], place: Surroundings, say: Callable[[str], None]) -> Outcome:
    """Have the trainer check all input, pass its lines to `say`, and return how that ended.

    Raises BadInputError for the user's mistakes. Writes to `folders.private` and the log alone.
    """
    prepare(folders, local_run)
    with folders.log.open("ab") as log:
        process = TrainerProcess([*trainer, "--config", str(folders.config), "--check"], log, place)
        try:
            while (lines := process.lines(1.0)) is not None:
                for line in lines:
                    say(line)
        except BaseException:  # a signal: nothing is lost by the end of a check
            process.kill()
            raise
        finally:
            exit_code = process.wait()
    reported, tail = _outcome(folders.progress), LogTail(folders.log, 0)
    outcome = reported or outcome_of_exit(exit_code)
    if outcome.result is Result.INPUT_INVALID:
        raise BadInputError(input_errors(reported, tail))
    if outcome.result is not Result.SUCCEEDED and reported is None:
        for line in tail.last_lines():
            say(f"  {line}")
    return outcome


def _outcome(progress: Path) -> Outcome | None:
    return ProgressRecord.model_validate_json(progress.read_text(encoding="utf-8")).outcome if progress.is_file() else None
