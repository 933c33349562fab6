"""One attempt, or one check, from its configuration to the exit: input, workers, results, the last progress record.

Touches the output folder, and Ray through `Workers`. Tests: tests/trainer/driver/test_attempt.py, tests/trainer/rank/test_run.py.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from finetune.api.errors import RunError
from finetune.api.record import (
    EXIT_INTERRUPTED,
    EXIT_SUCCESS,
    STOPPED,
    WARNINGS_MAX,
    Result,
    Stage,
)
from finetune.api.results import MODEL, PREDICTIONS, REPORT, missing_results, read_report
from finetune.api.timings import TimedStage, started_by
from finetune.api.trainconfig import TrainConfig
from trainer.data.datafolder import DataFolder, data_of_a_check, data_of_a_run
from trainer.driver.exits import Exit, exit_of, interrupted
from trainer.driver.finished import print_report, update_from_report
from trainer.driver.here import go_first, prepare_environment, runs_here
from trainer.driver.publisher import FINAL_TRIES_SECONDS, Publisher, open_target
from trainer.driver.stopping import InterruptedRunError, StopRequest
from trainer.driver.workers import Workers, fit
from trainer.model.torchless import import_torch_beside
from trainer.preflight.inputs import check_inputs
from trainer.rank.launch import collect_rarely
from trainer.reporting.stageclock import StageClock
from trainer.storage.manifest import checkpoint_names
from trainer.storage.ownership import Ownership, no_checkpoint_left

logger = logging.getLogger(__name__)

INTERRUPTED_TRIES_SECONDS = 20.0
"""A pod is killed 30 s after SIGTERM, and a user who presses Ctrl-C waits no longer either."""


class MissingResultsError(RunError):
    """The workers ended well, unasked, and did not leave what they were to write."""


def run(config: TrainConfig) -> Exit:
    """Run one attempt to its end; every end leaves a last progress record."""
    if runs_here(config):
        prepare_environment(config)
        go_first()
        collect_rarely()
        import_torch_beside()
    publisher = Publisher(config, open_target(config.progress))
    publisher.start()
    clock = StageClock("driver", started_by(otherwise=time.time()))
    workers = Workers(config, clock)
    end = overseen(lambda stop: attempt(config, publisher, stop, clock, workers))
    if end.unfinished:
        publisher.poll(None)  # Ray is not waited for any more
    publish(publisher, end)
    # Libraries of a rank start threads of their own, and none of them may keep a run that has ended from leaving. Nor may workers that
    # were started for an input that turned out to be wrong.
    return replace(end, unfinished=end.unfinished or runs_here(config) or workers.idle)


def check(config: TrainConfig) -> Exit:
    """Check what a run would find; what is wrong goes into a last progress record, as a run's does."""
    end = overseen(lambda _: inspect(config))
    if end.exit_code != EXIT_SUCCESS:
        publish(Publisher(config, open_target(config.progress)), end)
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


def publish(publisher: Publisher, end: Exit) -> None:
    """Leave the last record."""
    patience = INTERRUPTED_TRIES_SECONDS if end.exit_code == EXIT_INTERRUPTED else FINAL_TRIES_SECONDS
    if not publisher.finish(patience, outcome=end.outcome, stage=Stage.FINISHED):
        logger.error("the last progress record was not accepted; only the exit code %d says how the run ended", end.exit_code)


def attempt(config: TrainConfig, publisher: Publisher, stop: StopRequest, clock: StageClock, workers: Workers) -> str:
    """Check, train and report; return the closing words. Raises what went wrong."""
    finished = Ownership.of(config, {}).check_configuration()
    if not finished and not runs_here(config):
        workers.begin()
    with data_of_a_run(Path(config.output.directory)) as data:
        return _attempt(config, data, publisher, stop, clock, workers)


def _attempt(config: TrainConfig, data: DataFolder, publisher: Publisher, stop: StopRequest, clock: StageClock, workers: Workers) -> str:
    publisher.update(stage=Stage.READING)
    inputs = check_inputs(config, data, clock.begin, rehearse_here=runs_here(config))
    ownership = Ownership.of(config, inputs.digests(config)).as_recorded()
    directory, place = Path(config.output.directory), ownership.place
    finished = ownership.finished()
    place.recover(MODEL)  # a form that a killed export had moved aside is not missing
    missing, report = missing_results(place, config.exports), read_report(place)
    if finished and report is not None:
        publisher.update(**update_from_report(report, place))
    if finished and not missing:
        print(f"{directory} holds this run, finished. Nothing was changed; --overwrite trains it again.")
        return "this run is finished already; nothing was changed"
    if finished and not checkpoint_names(place):
        raise no_checkpoint_left(place, config.job.uid)
    if finished:
        logger.info("the run in %s is finished, but lacks %s: made from its checkpoints, without training", directory, ", ".join(missing))
    else:
        ownership.write(finished=False)
        for name in (REPORT, PREDICTIONS):  # of an attempt that died before it was recorded as finished: what is trained now has none yet
            place.remove(name)
    data.keep()
    publisher.update(warnings=list(inputs.findings)[:WARNINGS_MAX])
    if inputs.found:
        print(f"tokens of an earlier start are used: {', '.join(inputs.found)}", flush=True)
    clock.begin(TimedStage.TOKENS)
    inputs = inputs.with_tokens(config, data)
    publisher.update(stage=Stage.STARTING)
    fit(config, inputs, ownership, publisher, stop, clock, workers, only_results=finished)
    if missing := missing_results(place, config.exports):
        if stop.wanted:
            raise InterruptedRunError(STOPPED)
        raise MissingResultsError(f"the workers ended without an error, but {directory} lacks {', '.join(missing)}")
    ownership.write(finished=True)
    try:
        print_report(read_report(place) or {})
    except Exception as error:  # the run is done and written; a terminal that cannot show it changes nothing
        logger.warning("the report could not be shown: %s", error)
    return "the model is trained, measured and written"


def inspect(config: TrainConfig) -> str:
    """Check all input, and the run that the output folder may hold, and print what was found; starts no Ray, writes nothing."""
    directory = Path(config.output.directory)
    Ownership.of(config, {}).check_configuration()
    with data_of_a_check(directory) as data:
        inputs = check_inputs(config, data, rehearse_here=False)
        Ownership.of(config, inputs.digests(config)).finished()  # raises where the output folder holds another run
        for line in inputs.describe(config):
            print(line)
    return "the input is valid"
