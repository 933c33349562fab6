"""Runs that begin where others ended, on this machine: the folders given with --job, and --continue in a run's own folder.

Tests: tests/finetune/cli/local/test_earlier.py.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from finetune.api.earlierjobs import EarlierRun
from finetune.api.errors import InputError
from finetune.api.lineage import LENGTH, length_of
from finetune.api.resolve import FIELDS_OF_JOBS, MODEL_OF_JOB, NamedJob
from finetune.api.results import ResultsFolder, missing_results
from finetune.api.sections import Export

RUN_FILE = "run.json"


def earlier_run(named: NamedJob, jobs: Mapping[str, Path]) -> tuple[EarlierRun, InputError | None]:
    """Return the run of a job that the file names, in the folder given for it, and what is wrong with it, if anything is."""
    folder, field = jobs.get(named.name), f"spec.{FIELDS_OF_JOBS[named.field]}"
    if folder is None:
        fix = f"name the folder of its run: --job {named.name}=DIR"
        return EarlierRun(name=named.name, path="/"), InputError(field, f"there is no job {named.name!r} on this machine", fix)
    run = EarlierRun(name=named.name, path=str(folder.resolve()))
    written = _record(folder / RUN_FILE)
    if written is None:
        fix = "name the folder that its `finetune run --output` wrote"
        return run, InputError("--job", f"{named.name}: {folder} holds no run: there is no {RUN_FILE} that can be read", fix)
    owner = written.get("owner") or {}
    if owner.get("name") != named.name:
        return run, InputError(
            "--job", f"{named.name}: {folder} holds a run of the job {owner.get('name')!r}", "give the folder of that job"
        )
    if not written.get("finished"):
        return run, InputError("--job", f"{named.name}: the run in {folder} has not finished", "finish it first, with `finetune run`")
    if named.field == MODEL_OF_JOB and missing_results(ResultsFolder(folder), [Export.MERGED])[-1:] == ["model/merged"]:
        problem = f"the run in {folder} has no merged model, from which a job can begin"
        return run, InputError(field, problem, f"write it: finetune export {folder} --merged")
    return run.model_copy(update={"uid": owner.get("uid")}), None


def folders_in_use(jobs: Mapping[str, Path], read: Collection[str], output: Path) -> list[InputError]:
    """Return an error for each folder of an earlier job that would be written to, or into."""
    fix = "give another --output; to train the same job for longer in its own folder, use --continue without continueFrom"
    errors, written = [], output.resolve()
    for name, folder in sorted((name, folder.resolve()) for name, folder in jobs.items() if name in read):
        if written.is_relative_to(folder):
            where = "is" if written == folder else "is in"
            errors.append(InputError("--output", f"{output} {where} the folder of the job {name}, which is only read", fix))
    return errors


def not_longer(recorded: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> InputError | None:
    """Return the error of a lineage that trains no longer than the recorded one; None where it does, or where only rows can tell."""
    before, after = length_of(recorded), length_of(wanted)
    for name in LENGTH:
        if name in before and name in after and after[name] <= before[name]:
            problem = f"{after[name]:g} is not more than the {before[name]:g} that the run in {folder} was made for"
            return InputError(f"spec.training.{name}", problem, "give more to continue it, or leave --continue out")
    return None


def _record(file: Path) -> dict[str, Any] | None:
    try:
        written = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return written if isinstance(written, dict) else None
