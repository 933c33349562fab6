"""The driver: checks the input, starts Ray Train's workers, publishes progress, and says how the run ended.

Touches Ray and the output folder. Test: tests/trainer/rank/test_run.py, tests/trainer/driver/test_attempt.py.
"""

import json
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune.api.errors import InputError
from finetune.api.record import (
    EXIT_FAILURE,
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_SUCCESS,
    REASON_DIVERGED,
    REASON_EXPORT,
    REASON_GENERIC,
    STOPPED,
    WARNINGS_MAX,
    CheckpointRecord,
    Metrics,
    ModelProvenance,
    Outcome,
    OutputRecord,
    Result,
    Stage,
)
from finetune.api.results import REPORT, checkpoint_folders, missing_results
from finetune.api.trainconfig import TrainConfig
from finetune.system.files import whole_letters
from trainer.driver.raystart import STARTS, RayNotStartedError, resources_of_a_rank, start_ray
from trainer.driver.stopping import InterruptedRunError, StopRequest
from trainer.preflight.inputs import Inputs, check_inputs
from trainer.reporting.progress import FINAL_TRIES_SECONDS, ProgressReporter, open_sink
from trainer.storage.ownership import Ownership, no_checkpoint_left

logger = logging.getLogger(__name__)

MESSAGE_MAX_LENGTH = 2048
INTERRUPTED_TRIES_SECONDS = 20.0
"""Who stops a run does not wait longer; a pod is killed 30 s after it was told to end."""
REASON_RAY = "RayNotStarted"
# Names of exceptions that a worker may end with, and the reason that status gives for them.
FAILURE_REASONS = {"OutOfMemoryError": "OutOfMemory", "MemoryError": "OutOfMemory", "TrainingDivergedError": REASON_DIVERGED,
                   "ExportMismatchError": REASON_EXPORT,
                   "TornCheckpointError": "CheckpointDamaged", "OSError": "StorageFailed",
                   "SafetensorError": "StorageFailed", RayNotStartedError.__name__: REASON_RAY,
                   # Ray Train's, for workers that did not come up.
                   "WorkerGroupStartupTimeoutError": REASON_RAY, "WorkerGroupStartupFailedError": REASON_RAY}  # fmt: skip


class MissingResultsError(Exception):
    """The workers ended well, unasked, and did not leave what they were to write."""


@dataclass(frozen=True)
class Ending:
    """How a run ended: the outcome for the record and the exit code of the process."""

    outcome: Outcome
    exit_code: int
    unfinished: bool = False
    """A thread still does what nobody waits for: the process has to leave without asking it."""


def run(config: TrainConfig) -> Ending:
    """Run one attempt to its end; every end leaves a last progress record."""
    reporter = ProgressReporter(config, open_sink(config.progress))
    reporter.start()
    reporter.update(stage=Stage.STARTING)
    ending = overseen(lambda stop: attempt(config, reporter, stop))
    if ending.unfinished:
        reporter.poll(None)  # Ray is not waited for any more
    publish(reporter, ending)
    return ending


def check(config: TrainConfig) -> Ending:
    """Tell what a run would find; what is wrong goes into a last progress record, as a run's does."""
    ending = overseen(lambda _: inspect(config))
    if ending.exit_code != EXIT_SUCCESS:
        publish(ProgressReporter(config, open_sink(config.progress)), ending)
    return ending


def overseen(work: Callable[[StopRequest], str]) -> Ending:
    """Do the work, which a signal may stop, and return how it ended; no signal has an effect afterwards."""
    stop = StopRequest()
    stop.install()
    ending = stop.oversee(lambda: end_of(lambda: work(stop)))
    stop.disregard()
    if ending is None:
        return replace(interrupted(STOPPED), unfinished=True)
    if stop.wanted and ending.outcome.result is Result.FAILED:
        return interrupted(f"{STOPPED}; on the way: {ending.outcome.message}")
    return ending


def publish(reporter: ProgressReporter, ending: Ending) -> None:
    """Leave the last record."""
    patience = INTERRUPTED_TRIES_SECONDS if ending.exit_code == EXIT_INTERRUPTED else FINAL_TRIES_SECONDS
    if not reporter.finish(patience, outcome=ending.outcome, stage=Stage.FINISHED):
        logger.error("the last progress record was not accepted; the exit code %d stands for it", ending.exit_code)


def interrupted(message: str) -> Ending:
    """Return the ending of a run that was stopped on request."""
    return Ending(outcome_of(Result.INTERRUPTED, "Interrupted", message), EXIT_INTERRUPTED)


def end_of(work: Callable[[], str]) -> Ending:
    """Do the work and translate its end, good or bad, into an Ending."""
    try:
        message = work()
    except InputError as error:
        logger.error("%s", error)
        return Ending(outcome_of(Result.INPUT_INVALID, "InputInvalid", str(error)), EXIT_INPUT)
    except InterruptedRunError as error:
        return interrupted(str(error))
    except (Exception, SystemExit) as error:  # whatever it is, the controller must be told
        logger.exception("the run failed")
        return failure_of(error)
    return Ending(outcome_of(Result.SUCCEEDED, "Succeeded", message), EXIT_SUCCESS)


def failure_of(error: BaseException) -> Ending:
    """Return the ending for an exception of the driver or of a worker."""
    causes = list(worker_errors(error))
    for cause in causes:
        if isinstance(cause, InputError):
            return Ending(outcome_of(Result.INPUT_INVALID, "InputInvalid", str(cause)), EXIT_INPUT)
    named = [
        (FAILURE_REASONS[kind.__name__], cause) for cause in causes for kind in type(cause).__mro__ if kind.__name__ in FAILURE_REASONS
    ]
    reason, cause = named[0] if named else (REASON_GENERIC, causes[0])
    return Ending(outcome_of(Result.FAILED, reason, f"{type(cause).__name__}: {cause}"), EXIT_FAILURE)


def worker_errors(error: BaseException) -> list[BaseException]:
    """Return the exceptions of the workers that a Ray Train error carries, unwrapped; else the error itself."""
    error = getattr(error, "controller_failure", None) or error
    failures = getattr(error, "worker_failures", None)
    if not failures:
        return [error]
    return [getattr(failure, "cause", None) or failure for failure in failures.values()]


def outcome_of(result: Result, reason: str, message: str) -> Outcome:
    """Return an outcome whose message fits the record."""
    text = whole_letters(message.strip()) or reason
    return Outcome(result=result, reason=reason, message=text if len(text) <= MESSAGE_MAX_LENGTH else text[: MESSAGE_MAX_LENGTH - 1] + "…")


def attempt(config: TrainConfig, reporter: ProgressReporter, stop: StopRequest) -> str:
    """Check, train and report; return the closing words. Raises what went wrong."""
    inputs = check_inputs(config)
    ownership = Ownership.of(config, inputs.digests(config))
    directory = Path(config.output.directory)
    finished, missing = ownership.finished(), missing_results(directory, config.exports)
    if finished and REPORT not in missing:
        reporter.update(**told_by_report(directory, config))
    if finished and not missing:
        print(f"{directory} holds this run, finished. Nothing was changed; --overwrite trains anew.")
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
    return "the input is sound"


def fit(config: TrainConfig, inputs: Inputs, ownership: Ownership, reporter: ProgressReporter, stop: StopRequest,
        *, trained: bool = False) -> None:  # fmt: skip
    """Run the workers on Ray; returns when all have ended well, raises their error otherwise. `trained`: only results are missing."""
    start_ray(config)
    import ray

    from trainer.rank.worker import Payload
    from trainer.reporting.progress import BoxReader, progress_box

    box = progress_box()
    reporter.poll(BoxReader(box, stop))
    trainer = ray_trainer(config, Payload(config.to_wire(), ray.put(inputs), ownership.owner, box, trained))
    try:
        trainer.fit()
    finally:
        reporter.fetch()
        reporter.poll(None)


def ray_trainer(config: TrainConfig, payload: Any) -> Any:
    """Return Ray Train's trainer: one worker process per rank, without retries of Ray's own."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from trainer.rank.worker import train_worker

    use_gpu = config.workers.gpus_per_worker > 0
    return TorchTrainer(
        train_worker,
        train_loop_config={"payload": payload},
        scaling_config=ScalingConfig(
            num_workers=config.workers.world_size, use_gpu=use_gpu, resources_per_worker=resources_of_a_rank(config)
        ),
        run_config=RunConfig(
            # A name that exists would resume that Ray Train run; ours resume from our own checkpoints.
            name=f"{config.job.name}-{config.job.attempt}-{uuid.uuid4().hex[:6]}",
            storage_path=str(Path(config.output.directory) / ".finetune" / "ray"),
            # Retries are the controller's, but for workers that do not come up: once more, as Ray itself.
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=STARTS - 1),
        ),
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
    )


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
