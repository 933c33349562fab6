"""One attempt, or one check, from its configuration to the exit: input, workers, results, the last progress record.

Touches the output folder, and Ray through `fit`. Tests: tests/trainer/driver/test_attempt.py, tests/trainer/rank/test_run.py.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune.api.errors import RunError
from finetune.api.record import (
    EXIT_INTERRUPTED,
    EXIT_SUCCESS,
    STOPPED,
    WARNINGS_MAX,
    CheckpointRecord,
    Metrics,
    ModelProvenance,
    OutputRecord,
    Result,
    Stage,
)
from finetune.api.results import REPORT, checkpoint_folders, missing_results
from finetune.api.trainconfig import TrainConfig
from trainer.driver.exits import Exit, exit_of, interrupted
from trainer.driver.stopping import InterruptedRunError, StopRequest
from trainer.driver.workers import fit
from trainer.preflight.inputs import check_inputs
from trainer.reporting.progress import FINAL_TRIES_SECONDS, ProgressReporter, open_sink
from trainer.storage.ownership import Ownership, no_checkpoint_left

logger = logging.getLogger(__name__)

INTERRUPTED_TRIES_SECONDS = 20.0
"""Who stops a run does not wait longer; a pod is killed 30 s after it was told to end."""


class MissingResultsError(RunError):
    """The workers ended well, unasked, and did not leave what they were to write."""


def run(config: TrainConfig) -> Exit:
    """Run one attempt to its end; every end leaves a last progress record."""
    reporter = ProgressReporter(config, open_sink(config.progress))
    reporter.start()
    reporter.update(stage=Stage.STARTING)
    end = overseen(lambda stop: attempt(config, reporter, stop))
    if end.unfinished:
        reporter.poll(None)  # Ray is not waited for any more
    publish(reporter, end)
    return end


def check(config: TrainConfig) -> Exit:
    """Check what a run would find; what is wrong goes into a last progress record, as a run's does."""
    end = overseen(lambda _: inspect(config))
    if end.exit_code != EXIT_SUCCESS:
        publish(ProgressReporter(config, open_sink(config.progress)), end)
    return end


def overseen(work: Callable[[StopRequest], str]) -> Exit:
    """Do the work, which a signal may stop, and return how it ended; no signal has an effect afterwards."""
    stop = StopRequest()
    stop.install()
    end = stop.oversee(lambda: exit_of(lambda: work(stop)))
    stop.disregard()
    if end is None:
        return replace(interrupted(STOPPED), unfinished=True)
    if stop.wanted and end.outcome.result is Result.FAILED:
        return interrupted(f"{STOPPED}; on the way: {end.outcome.message}")
    return end


def publish(reporter: ProgressReporter, end: Exit) -> None:
    """Leave the last record."""
    patience = INTERRUPTED_TRIES_SECONDS if end.exit_code == EXIT_INTERRUPTED else FINAL_TRIES_SECONDS
    if not reporter.finish(patience, outcome=end.outcome, stage=Stage.FINISHED):
        logger.error("the last progress record was not accepted; the exit code %d stands for it", end.exit_code)


def attempt(config: TrainConfig, reporter: ProgressReporter, stop: StopRequest) -> str:
    """Check, train and report; return the closing words. Raises what went wrong."""
    inputs = check_inputs(config)
    ownership = Ownership.of(config, inputs.digests(config))
    directory = Path(config.output.directory)
    finished, missing = ownership.finished(), missing_results(directory, config.exports)
    if finished and REPORT not in missing:
        reporter.update(**told_by_report(directory, config))
    if finished and not missing:
        print(f"{directory} holds this run, finished. Nothing was changed; --overwrite trains it again.")
        return "this run is finished already; nothing was changed"
    if finished and not checkpoint_folders(directory):
        raise no_checkpoint_left(directory, config.job.uid)
    if finished:
        logger.info("the run in %s is finished, but lacks %s: made from its checkpoints, without training", directory, ", ".join(missing))
    else:
        ownership.write(finished=False)
    reporter.update(warnings=list(inputs.findings)[:WARNINGS_MAX])
    fit(config, inputs, ownership, reporter, stop, trained=finished)
    if missing := missing_results(directory, config.exports):
        if stop.wanted:
            raise InterruptedRunError(STOPPED)
        raise MissingResultsError(f"the workers ended without an error, but {directory} lacks {', '.join(missing)}")
    ownership.write(finished=True)
    try:
        print_report(directory)
    except Exception as error:  # the run is done and written; a terminal that cannot show it changes nothing
        logger.warning("the report could not be shown: %s", error)
    return "the model is trained, measured and written"


def inspect(config: TrainConfig) -> str:
    """Check all input, and the run that the output folder may hold, and print what was found; starts no Ray, writes nothing."""
    inputs = check_inputs(config)
    Ownership.of(config, inputs.digests(config)).finished()  # raises where the output folder holds another run
    for line in inputs.describe(config):
        print(line)
    return "the input is valid"


def told_by_report(directory: Path, config: TrainConfig) -> dict[str, Any]:
    """Return the record's fields that a finished run's report holds, for an attempt that finds it finished."""
    report = json.loads((directory / "report.json").read_text(encoding="utf-8"))
    figures = {
        name: {metric: entry["value"] for metric, entry in report[name].items() if entry["value"] is not None}
        for name in ("baseline", "final")
    }
    uri = (config.output.uri or str(directory)).rstrip("/")
    return {
        "metrics": Metrics(baseline=figures["baseline"], final=figures["final"], best=report["best"]),
        "checkpoints": [CheckpointRecord.model_validate(checkpoint) for checkpoint in report["checkpoints"]],
        "model": ModelProvenance.model_validate(report["model"]),
        "output": OutputRecord(uri=uri, report_uri=f"{uri}/report.json"),
    }


def print_report(directory: Path) -> None:
    """Print the table base against tuned and the answers of both models."""
    from rich.console import Console

    from trainer.reporting.render import render_table

    Console().print(render_table(json.loads((directory / "report.json").read_text(encoding="utf-8"))))
