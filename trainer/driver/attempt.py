"""One attempt, or one check, from its configuration to the exit: input, workers, results, the last progress record.

Touches the output folder, and Ray through `Workers`. Tests: tests/trainer/driver/test_attempt.py, tests/trainer/rank/test_run.py.
"""

import gc
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from finetune.api.record import (
    EXIT_INTERRUPTED,
    EXIT_SUCCESS,
    STOPPED,
    WARNINGS_MAX,
    Result,
    Stage,
)
from finetune.api.results import read_report
from finetune.api.timings import started_by
from finetune.api.trainconfig import TrainConfig
from trainer.data.datafolder import data_of_a_check
from trainer.driver.ablations import ablation_plan
from trainer.driver.continuing import continued_by, refuse_control_runs
from trainer.driver.corpus import with_corpus
from trainer.driver.derived import OWN, Done, PartOfRecord, Plan, Planned
from trainer.driver.exits import Exit, LastWords, exit_of, failed_for_good, interrupted
from trainer.driver.finished import progress_of
from trainer.driver.here import go_first, prepare_environment, runs_here
from trainer.driver.lastwords import last_words_of
from trainer.driver.onerun import OneRun, figures_only
from trainer.driver.publisher import FINAL_TRIES_SECONDS, Publisher, Reports, open_target
from trainer.driver.stopping import InterruptedRunError, StopRequest
from trainer.driver.succession import Succession
from trainer.driver.workers import Workers
from trainer.logs.starting import DRIVER, keep_log
from trainer.model.torchless import import_torch_beside
from trainer.preflight.inputs import Inputs, check_inputs
from trainer.rank.launch import collect_rarely
from trainer.reporting.stageclock import StageClock
from trainer.storage.kinds import output_place
from trainer.storage.manifest import CHECKPOINTS
from trainer.storage.ownership import Ownership

logger = logging.getLogger(__name__)

INTERRUPTED_TRIES_SECONDS = 20.0
"""A pod is killed 30 s after SIGTERM, and a user who presses Ctrl-C waits no longer either."""


def run(config: TrainConfig) -> Exit:
    """Run one attempt to its end; every end leaves a last progress record."""
    if runs_here(config):
        prepare_environment(config)
        go_first()
        collect_rarely()
        import_torch_beside()
    if config.on_cluster:  # elsewhere `finetune run` keeps it, in trainer.log
        keep_log(config, DRIVER, "the driver")
    publisher = Publisher(config, open_target(config.progress))
    publisher.start()
    clock = StageClock("driver", started_by(otherwise=time.time()))
    workers = Workers(config, clock)
    succession = Succession(config, os.environ.get("RAY_CLUSTER_NAME", ""))

    def work(stop: StopRequest) -> str:
        succession.begin(stop)
        return attempt(config, publisher, stop, clock, workers)

    end = overseen(work, partial(last_words_of, config))
    if end.unfinished:
        publisher.poll(None)  # Ray is not waited for any more
    else:  # what still goes on in a thread may write, and the sign says so until this program is gone
        succession.end()
    if succession.taken_by:  # whose report counts, and must not be replaced by one of this cluster
        logger.error("the Ray cluster %s has taken the place of this one, which ends without a report", succession.taken_by)
        return replace(interrupted(f"the Ray cluster {succession.taken_by} has taken the place of this one"), unfinished=True)
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


def overseen(work: Callable[[StopRequest], str], last_words: LastWords = lambda error: []) -> Exit:
    """Do the work, which a signal may stop, and return how it ended; no signal has an effect afterwards."""
    stop = StopRequest()
    stop.install()
    end = stop.oversee(lambda: exit_of(lambda: work(stop), last_words))
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
    """Check, train and report, the job's own run and those before and after it; return the closing words. Raises what went wrong."""
    publisher.on_stop(stop.ask)
    return Job(plan_of(config), publisher, stop, clock, workers).run(config)


def plan_of(config: TrainConfig) -> Plan:
    """Return which runs a job is made of; raises InputError for settings that ask for one that cannot be."""
    refuse_control_runs(config)
    return with_corpus(config, ablation_plan(config))


class Job:
    """The runs of a job, one after the other: those that are finished are left alone, and one that was interrupted goes on."""

    def __init__(self, plan: Plan, publisher: Publisher, stop: StopRequest, clock: StageClock, workers: Workers) -> None:
        self._plan, self._publisher, self._stop, self._clock, self._workers = plan, publisher, stop, clock, workers
        self._finished: dict[str, Done] = {}
        self._warnings: list[str] = []
        """Of the runs that made what the job's own begins with."""
        self._first = True

    def run(self, config: TrainConfig) -> str:
        """Train what is not finished; return the closing words."""
        plan = self._plan
        if not plan.begun(config):
            plan.ahead(config)
        for planned in plan.before:
            self._further(planned, config)
        main = plan.main(config, self._finished)
        own = self._run_of(main, self._publisher, check=partial(plan.check, main), warnings=self._warnings)
        words = own.to_its_end(quiet=bool(plan.after))
        self._finished[OWN] = Done(main, read_report(output_place(main.output)) or {})
        trained = [planned for planned in plan.after if self._further(planned, main)]
        if plan.after:
            plan.conclude(self._finished[OWN], self._finished)
            self._publisher.update(stage=Stage.EXPORTING, progress=progress_of(self._finished[OWN].report))
        if own.was_finished and plan.after and not trained:
            print(f"{main.output.directory} holds this run and its control runs, finished. --overwrite trains them again.")
        failed = sum(done.failed is not None for done in self._finished.values())
        count = "1 further run" if len(trained) == 1 else f"{len(trained)} further runs"
        return f"{words}, and {count}{_failures(failed, len(trained))}" if trained else words

    def _further(self, planned: Planned, base: TrainConfig) -> bool:
        """Train a further run unless it is finished; return whether it was trained."""
        config = planned.configure(base, self._finished)
        # What is measured before the job's own run has the rows of it, and is no control run.
        base_only = config.derived is not None and config.derived.base_only
        check = partial(self._plan.check, base) if base_only else lambda _: None
        part = PartOfRecord(self._publisher, planned.name, None if figures_only(config) else planned.warning)
        one = self._run_of(config, part, check)
        with planned.naming_fields_of_the_job():
            failed = self._failure_of(one, control=figures_only(config) and not base_only)
        place = output_place(config.output)
        self._finished[planned.name] = Done(config, {} if failed else read_report(place) or {}, failed)
        if failed:
            self._warn_of_failures()
        if figures_only(config):
            place.remove(CHECKPOINTS)
        else:
            self._warnings += map(planned.warning, self._finished[planned.name].report.get("warnings", ()))
        gc.collect()  # the model of this run, before that of the next is loaded
        return not one.was_finished

    def _failure_of(self, one: OneRun, *, control: bool) -> str | None:
        """Train a further run; return why it failed if it is a control run that would fail again. Any other failure is raised.

        The job's own model is finished by then, and another attempt would end in the same way.
        """
        try:
            one.to_its_end(quiet=True)
        except Exception as error:
            said = failed_for_good(error) if control and not self._stop.wanted else None
            if said is None:
                raise
            logger.warning("a control run failed, and the job goes on without its figures", exc_info=True)
            return said
        return None

    def _warn_of_failures(self) -> None:
        """Put the control runs that failed before the job's own warnings."""
        failed = [f"{name} failed: {done.failed}" for name, done in self._finished.items() if done.failed]
        own = self._finished[OWN].report.get("warnings", []) if OWN in self._finished else []
        self._publisher.update(warnings=[*failed, *own][:WARNINGS_MAX])

    def _run_of(self, config: TrainConfig, reports: Reports, check: Callable[[Inputs], None] = lambda _: None,
                warnings: Sequence[str] = ()) -> OneRun:  # fmt: skip
        """Return the next run. The first one has the clock and the workers that the program began with."""
        if self._first:
            self._first, self._workers = False, self._workers.of(config)
        elif self._stop.wanted:
            raise InterruptedRunError(STOPPED)
        else:
            self._clock = StageClock("driver", time.time())
            self._workers = self._workers.following(config, self._clock)
        return OneRun(config, reports, self._stop, self._clock, self._workers, check, warnings)


def _failures(failed: int, trained: int) -> str:
    """Return how many control runs failed; `trained` of them were trained."""
    if not failed:
        return ""
    return ", which failed" if failed == trained == 1 else f", {failed} of which failed"


def inspect(config: TrainConfig) -> str:
    """Check all input, and the run that the output folder may hold, and print what was found; starts no Ray, writes nothing."""
    directory = Path(config.output.directory)
    plan = plan_of(config)
    Ownership.of(config, {}).check_configuration()
    config = plan.today(config)
    with data_of_a_check(directory) as data:
        inputs = check_inputs(config, data, rehearse_here=False)
        plan.check(config, inputs)
        ownership = Ownership.of(config, inputs.digests(config))
        earlier = continued_by(config, ownership, finished=ownership.finished())  # raises where the output folder holds another run
        if earlier is not None:
            earlier.check(ownership)
        for line in inputs.describe(config):
            print(line)
        for line in plan.ahead(config):
            print(line)
        for planned in (*plan.before, *plan.after):
            print(f"further run {planned.name}")
    return "the input is valid"
