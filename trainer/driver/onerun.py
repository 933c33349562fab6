"""One run of a job, from its check to its results: a run that is finished is left alone, and one that was interrupted goes on.

Touches the output folder, and Ray through `Workers`. Test: tests/trainer/driver/test_attempt.py.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from finetune.api.errors import RunError
from finetune.api.record import STOPPED, WARNINGS_MAX, Stage
from finetune.api.results import KEPT, MODEL, REPORT, missing_results, read_report
from finetune.api.timings import TimedStage
from finetune.api.trainconfig import TrainConfig
from trainer.data.datafolder import DataFolder, data_of_a_run
from trainer.driver.continuing import begin_where_another_ended, continued_by
from trainer.driver.finished import print_report, update_from_report
from trainer.driver.here import runs_here
from trainer.driver.publisher import Reports
from trainer.driver.stopping import InterruptedRunError, StopRequest
from trainer.driver.workers import Workers, fit
from trainer.preflight.inputs import Inputs, check_inputs
from trainer.reporting.stageclock import StageClock
from trainer.storage.manifest import checkpoint_names
from trainer.storage.ownership import Ownership, no_checkpoint_left

logger = logging.getLogger(__name__)


class MissingResultsError(RunError):
    """The workers ended well, unasked, and did not leave what they were to write."""


def figures_only(config: TrainConfig) -> bool:
    """Return whether nobody uses the model of a run: it is only measured."""
    return config.derived is not None and config.derived.figures_only


class OneRun:
    """One run, from its check to its results; `check` looks at the input that was found to be valid.

    `warnings` of runs before it stand in its report and record after those on its own input.
    """

    def __init__(self, config: TrainConfig, reports: Reports, stop: StopRequest, clock: StageClock, workers: Workers,
                 check: Callable[[Inputs], None] = lambda _: None, warnings: Sequence[str] = ()) -> None:  # fmt: skip
        self._config, self._reports, self._stop, self._clock, self._workers, self._check = config, reports, stop, clock, workers, check
        self._earlier = warnings
        self.was_finished = False
        """Whether nothing was left to do."""

    def to_its_end(self, *, quiet: bool = False) -> str:
        """Check, train and report what is not done yet; return the closing words. `quiet`: do not print that nothing was left to do."""
        config = self._config
        finished = Ownership.of(config, {}).check_configuration()
        if not finished and not runs_here(config):
            self._workers.begin()
        with data_of_a_run(Path(config.output.directory if config.derived is None else config.derived.main)) as data:
            return self._with(data, quiet=quiet)

    def _with(self, data: DataFolder, *, quiet: bool) -> str:
        config, reports = self._config, self._reports
        reports.update(stage=Stage.READING)
        inputs = check_inputs(config, data, self._clock.begin, rehearse_here=runs_here(config))
        self._check(inputs)
        if self._earlier:
            inputs = replace(inputs, findings=(*inputs.findings, *self._earlier))
        ownership = Ownership.of(config, inputs.digests(config)).as_recorded()
        directory, place = Path(config.output.directory), ownership.place
        finished = ownership.finished()
        earlier = continued_by(config, ownership, finished=finished)
        if earlier is not None:
            earlier.check(ownership)
        place.recover(MODEL)  # a form that a killed export had moved aside is not missing
        to_compare = bool(config.evaluation.ablations) or figures_only(config)
        missing, report = missing_results(place, config.exports, to_compare=to_compare), read_report(place)
        if finished and report is not None:
            reports.update(**update_from_report(report, place))
        if finished and not missing:
            self.was_finished = True
            if not quiet:
                print(f"{directory} holds this run, finished. Nothing was changed; --overwrite trains it again.")
            return "this run is finished already; nothing was changed"
        if finished and not checkpoint_names(place):
            if not figures_only(config):
                raise no_checkpoint_left(place, config.job.uid)
            finished = False  # its checkpoints went when its figures were there, and somebody has removed those
        if finished:
            logger.info(
                "the run in %s is finished, but lacks %s: made from its checkpoints, without training", directory, ", ".join(missing)
            )
        else:
            ownership = begin_where_another_ended(ownership, earlier, config, inputs, data)
            ownership.write(finished=False)
            for name in (
                REPORT,
                *KEPT.values(),
            ):  # of an attempt that died before it was recorded as finished: what is trained now has none yet
                place.remove(name)
        data.keep()
        reports.update(warnings=list(inputs.findings)[:WARNINGS_MAX])
        if inputs.found and config.derived is None:
            print(f"tokens of an earlier start are used: {', '.join(inputs.found)}", flush=True)
        self._clock.begin(TimedStage.TOKENS)
        inputs = inputs.with_tokens(config, data)
        reports.update(stage=Stage.STARTING)
        fit(config, inputs, ownership, reports, self._stop, self._clock, self._workers, only_results=finished)
        if missing := missing_results(place, config.exports, to_compare=to_compare):
            if self._stop.wanted:
                raise InterruptedRunError(STOPPED)
            raise MissingResultsError(f"the workers ended without an error, but {directory} lacks {', '.join(missing)}")
        ownership.write(finished=True)
        if config.derived is None:
            try:
                print_report(read_report(place) or {})
            except Exception as error:  # the run is done and written; a terminal that cannot show it changes nothing
                logger.warning("the report could not be shown: %s", error)
        return "the model is trained, measured and written"
