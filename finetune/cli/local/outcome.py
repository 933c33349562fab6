"""The last lines of a run: how it ended, why, and what to do next. Tests: tests/finetune/cli/local/test_run.py."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from finetune.api.errors import BadInputError, InputError
from finetune.api.metrics import Needs, metrics_needing
from finetune.api.record import STOPPED, Outcome, Result
from finetune.api.results import LOGS, MODEL, PREDICTIONS, REPORT, ResultsFolder, read_report
from finetune.api.spec import FineTuneJobSpec
from finetune.api.tasks import TASKS
from finetune.api.trainconfig import TrainConfig
from finetune.cli.local.configuration import Folders
from finetune.cli.local.screen import Screen

LAST_LINES = 20
SECTIONS = {field.alias or name for name, field in FineTuneJobSpec.model_fields.items()}
"""The trainer names fields as they are in its configuration; in the job file they are members of `spec`."""
RESULTS = ("model", REPORT, PREDICTIONS, "metrics.jsonl", "checkpoints")


class LogTail:
    """What was written to the trainer's log since this start."""

    def __init__(self, path: Path, start: int) -> None:
        self._path, self._start, self._read_to = path, start, start

    def new_lines(self, *, ended: bool = False) -> list[str]:
        """Return the whole lines since the last call; when all who write have `ended`, also one that lacks its end."""
        with self._path.open("rb") as stream:
            stream.seek(self._read_to)
            data = stream.read()
        whole = data if ended else data[: data.rfind(b"\n") + 1]
        self._read_to += len(whole)
        return whole.decode(errors="replace").splitlines()

    def last_lines(self) -> list[str]:
        """Return the last lines of this start."""
        with self._path.open("rb") as stream:
            stream.seek(self._start)
            return stream.read().decode(errors="replace").splitlines()[-LAST_LINES:]


@dataclass(frozen=True)
class Ended:
    """How the run ended. `reported`: by the trainer itself; else concluded from its exit code."""

    outcome: Outcome
    reported: bool
    last_checkpoint: int | None
    run: str | None = None
    """Which further run of the job was under way; None for the job's own."""


@dataclass(frozen=True)
class Commands:
    """Commands for after the run, ready to be copied into a shell."""

    again: str
    """Continues it."""
    using: tuple[str, ...]
    """Use its model, with what each does."""


def report_end(ended: Ended, folders: Folders, tail: LogTail, commands: Commands, screen: Screen) -> None:
    """Say how the run ended and what to do next. BadInputError where the user's input was invalid."""
    result = ended.outcome.result
    if result is Result.INPUT_INVALID:
        raise BadInputError(input_errors(ended.outcome if ended.reported else None, tail))
    if result is Result.SUCCEEDED:
        found = [name for name in RESULTS if (folders.output / name).exists()]
        screen.say(f"finished; {folders.output} holds {', '.join(found)}")
        for line in commands.using:
            screen.say(line)
    elif result is Result.INTERRUPTED:
        if ended.outcome.message != STOPPED:
            _say_message(ended.outcome.message, "", screen)
        step = ended.last_checkpoint
        since = f"after the checkpoint at step {step}" if step else "before the first checkpoint"
        since = since if ended.run is None else f"during {ended.run}"
        screen.say(f"interrupted {since}; continue with: {commands.again}")
    else:
        _report_failure(ended, folders, tail, commands.again, screen)


def _report_failure(ended: Ended, folders: Folders, tail: LogTail, again: str, screen: Screen) -> None:
    if not ended.reported:
        for line in tail.last_lines():
            screen.say(f"  {line}")
    _say_message(ended.outcome.message, f"failed ({ended.outcome.reason}): ", screen)
    ranks = f", what each rank wrote in {folders.output / LOGS}" if (folders.output / LOGS).is_dir() else ""
    screen.say(f"the full log is in {folders.log}{ranks}")
    if ended.run is not None:
        screen.say(f"{ended.run} was under way, and what was done before it is kept; fix the cause, then continue with: {again}")
    elif ended.last_checkpoint:
        screen.say(f"the checkpoint at step {ended.last_checkpoint} is kept; fix the cause, then continue with: {again}")


def _say_message(message: str, heading: str, screen: Screen) -> None:
    cause, *details = [line for line in message.splitlines() if line.strip()]
    screen.say(f"{heading}{cause}")
    for line in details[:LAST_LINES]:
        screen.say(f"  {line}")


def run_command_line(
    job_file: Path, output: str, claims: Mapping[str, Path], jobs: Mapping[str, Path] = MappingProxyType({}), *,
    overwrite: bool = False, lengthen: bool = False,
) -> str:  # fmt: skip
    """Return the command that runs a job file here, ready to be copied into a shell."""
    options = [*(["--overwrite"] if overwrite else []), *(["--continue"] if lengthen else [])]
    return shlex.join(["finetune", "run", str(job_file), "--output", output, *_folders(claims, jobs), *options])


def _folders(claims: Mapping[str, Path], jobs: Mapping[str, Path]) -> list[str]:
    given = (("--claim", claims), ("--job", jobs))
    return [part for option, named in given for name, folder in named.items() for part in (option, f"{name}={folder}")]


def using_command_lines(
    job_file: Path, output: str, claims: Mapping[str, Path], config: TrainConfig, jobs: Mapping[str, Path] = MappingProxyType({})
) -> tuple[str, ...]:
    """Return the commands that use the model of a run, as far as its task and its rows have a use for them."""
    folders = _folders(claims, jobs)
    lines = []
    if "messages" in TASKS[config.task].columns:
        lines.append(f"talk to it:       {shlex.join(['finetune', 'chat', output])}")
    lines.append(f"answer a prompt:  {shlex.join(['finetune', 'predict', output])} {' '.join(_prompt_options(config, Path(output)))}")
    if config.data.test or config.data.test_fraction:
        lines.append(f"measure it again: {shlex.join(['finetune', 'evaluate', '--model', output, str(job_file), *folders])}")
    return tuple(lines)


def _prompt_options(config: TrainConfig, output: Path) -> list[str]:
    """Return what `finetune predict` must be given beside the folder to answer one prompt."""
    pairs = {(source.source_language, source.target_language): None for source in config.data.train if source.source_language}
    source, target = next(iter(pairs)) if len(pairs) > 1 else (None, None)
    mask = _mask_token(output)
    return [
        f'--prompt "... {mask} ..."' if mask else '--prompt "..."',
        *(f'--with {column}="..."' for column in TASKS[config.task].beside),
        *([f"--from {source} --to {target}"] if source else []),
    ]


def _mask_token(output: Path) -> str | None:
    """Return what takes the place of a hidden word, by what a run left; None for a model that names none."""
    report = read_report(ResultsFolder(output)) or {}
    if report.get("judgedBy") not in metrics_needing(Needs.MASKED_SUMS):
        return None
    for file in sorted((output / MODEL).glob("*/tokenizer_config.json")):
        token = json.loads(file.read_text(encoding="utf-8")).get("mask_token")
        return str(token["content"] if isinstance(token, dict) else token) if token else None
    return None


def input_errors(outcome: Outcome | None, tail: LogTail) -> list[InputError]:
    """Return the user's mistakes as the trainer reports them, by its last record or else by its log."""
    if outcome is None:
        return [InputError("trainer", line) for line in tail.last_lines()]
    return [_parse(line) for line in outcome.message.splitlines() if line.strip()]


def _parse(line: str) -> InputError:
    """Take the trainer's `field: problem; fix` apart again."""
    field, _, rest = line.partition(": ")
    problem, _, fix = rest.partition("; ")
    if re.split(r"[.\[]", field)[0] in SECTIONS:
        field = f"spec.{field}"
    return InputError(field, problem, fix) if rest else InputError("trainer", line)
