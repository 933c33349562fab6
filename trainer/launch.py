"""The driver: checks the input, starts Ray Train's workers, publishes progress, and says how the run ended.

Touches Ray and the output folder. Test: tests/trainer/test_run.py, tests/trainer/test_launch.py.
"""

import json
import logging
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.config.errors import InputError
from trainer.config.files import write_atomically
from trainer.config.record import (
    EXIT_FAILURE,
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_SUCCESS,
    REASON_DIVERGED,
    REASON_GENERIC,
    WARNINGS_MAX,
    CheckpointRecord,
    Metrics,
    ModelProvenance,
    Outcome,
    OutputRecord,
    Result,
    Stage,
)
from trainer.config.train import TrainConfig
from trainer.inputs import Inputs, check_inputs
from trainer.ownership import Ownership
from trainer.progress import ProgressReporter, open_sink
from trainer.stopping import InterruptedRunError, StopRequest

logger = logging.getLogger(__name__)

MESSAGE_MAX_LENGTH = 2048
# Names of exceptions that a worker may end with, and the reason that status gives for them.
FAILURE_REASONS = {"OutOfMemoryError": "OutOfMemory", "MemoryError": "OutOfMemory", "TrainingDivergedError": REASON_DIVERGED,
                   "TornCheckpointError": "CheckpointDamaged", "OSError": "StorageFailed",
                   "SafetensorError": "StorageFailed"}  # fmt: skip


@dataclass(frozen=True)
class Ending:
    """How a run ended: the outcome for the record and the exit code of the process."""

    outcome: Outcome
    exit_code: int


def run(config: TrainConfig) -> int:
    """Run one attempt to its end and return the exit code; every end leaves a last progress record."""
    reporter = ProgressReporter(config, open_sink(config.progress))
    stop = StopRequest()
    reporter.start()
    reporter.update(stage=Stage.STARTING)
    ending = end_of(lambda: attempt(config, reporter, stop))
    stop.disregard()
    accepted = reporter.finish(outcome=ending.outcome, stage=Stage.FINISHED)
    if not accepted:
        logger.error("the last progress record was not accepted; the exit code %d stands for it", ending.exit_code)
    return ending.exit_code


def end_of(work: Callable[[], str]) -> Ending:
    """Do the work and translate its end, good or bad, into an Ending."""
    try:
        message = work()
    except InputError as error:
        logger.error("%s", error)
        return Ending(outcome_of(Result.INPUT_INVALID, "InputInvalid", str(error)), EXIT_INPUT)
    except (InterruptedRunError, SystemExit) as error:
        # Between ray.init and our handler, SIGTERM meets Ray's own, which exits.
        return Ending(outcome_of(Result.INTERRUPTED, "Interrupted", str(error)), EXIT_INTERRUPTED)
    except Exception as error:  # whatever it is, the controller must be told
        logger.exception("the run failed")
        return failure_of(error)
    return Ending(outcome_of(Result.SUCCEEDED, "Succeeded", message), EXIT_SUCCESS)


def failure_of(error: Exception) -> Ending:
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


def worker_errors(error: Exception) -> list[Exception]:
    """Return the exceptions of the workers that a Ray Train error carries, unwrapped; else the error itself."""
    failures = getattr(error, "worker_failures", None)
    if not failures:
        return [error]
    return [getattr(failure, "cause", None) or failure for failure in failures.values()]


def outcome_of(result: Result, reason: str, message: str) -> Outcome:
    """Return an outcome whose message fits the record."""
    text = message.strip() or reason
    return Outcome(result=result, reason=reason, message=text if len(text) <= MESSAGE_MAX_LENGTH else text[: MESSAGE_MAX_LENGTH - 1] + "…")


def attempt(config: TrainConfig, reporter: ProgressReporter, stop: StopRequest) -> str:
    """Check, train and report; return the closing words. Raises what went wrong."""
    stop.install()
    inputs = check_inputs(config)
    ownership = Ownership.of(config, inputs.digests(config))
    directory = Path(config.output.directory)
    if ownership.finished():
        print(f"{directory} holds this run, finished. Nothing was changed; --overwrite trains anew.")
        reporter.update(**told_by_report(directory, config))
        return "this run is finished already; nothing was changed"
    ownership.write(finished=False)
    reporter.update(warnings=list(inputs.findings)[:WARNINGS_MAX])
    fit(config, inputs, ownership, reporter, stop)
    if not (directory / "report.json").is_file():
        raise InterruptedRunError("stopped on request; the newest checkpoint holds what was trained")
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


# Read by Ray when it is imported or started; what the user has set stays.
RAY_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
    "RAY_TRAIN_V2_ENABLED": "1",
    # Ray Train's own print does not honour a captured stdout, and so the disassembly that dill reads lands in the log.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # A worker that asked for no GPU must see none: Ray no longer hides them by itself.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    # It would restart the workers for a node that Ray drains: the next attempt does that, and one process less is to start.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


def fit(config: TrainConfig, inputs: Inputs, ownership: Ownership, reporter: ProgressReporter, stop: StopRequest) -> None:
    """Run the workers on Ray; returns when all have ended well, raises their error otherwise."""
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    from trainer.progress import progress_box
    from trainer.worker import Payload

    start_ray(config)
    stop.install()  # ray.init put its own handler there
    box = progress_box()
    reporter.poll(lambda: fetch(box, stop))
    trainer = ray_trainer(config, Payload(config.to_wire(), ray.put(inputs), ownership.owner, box))
    try:
        trainer.fit()
        stop.disregard()
    finally:
        reporter.fetch()
        reporter.poll(None)


def ray_trainer(config: TrainConfig, payload: Any) -> Any:
    """Return Ray Train's trainer: one worker process per rank, without retries of Ray's own."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    from trainer.worker import train_worker

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
        ),
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
    )


def fetch(box: Any, stop: StopRequest) -> dict[str, Any]:
    """Return what the workers reported since the last call, and pass on the wish to stop."""
    import ray

    if stop.wanted:
        box.request_stop.remote()
    answer: tuple[dict[str, Any], Stage | None] = ray.get(box.fetch.remote(), timeout=10)
    fields, stage = answer
    if stage is not None:
        stop.note(stage)
    return fields


def resources_of_a_rank(config: TrainConfig) -> dict[str, float]:
    """Return what Ray sets aside for one rank: its GPU, or a whole worker's CPUs so that no two share a worker pod."""
    if config.workers.gpus_per_worker > 0:
        return {"CPU": max(1.0, config.workers.cpus_per_worker // config.workers.gpus_per_worker), "GPU": 1.0}
    return {"CPU": max(1.0, float(int(config.workers.cpus_per_worker)))}


def start_ray(config: TrainConfig) -> None:
    """Join the cluster that the job runs in, or start a local one with its dashboard."""
    import ray

    if config.progress.config_map is not None:
        ray.init(address="auto", log_to_driver=True)
        return
    needed = config.workers.world_size * resources_of_a_rank(config)["CPU"]
    gpus = config.workers.workers * config.workers.gpus_per_worker
    context = ray.init(
        address="local",
        num_cpus=int(max(needed, os.cpu_count() or 1)),
        num_gpus=gpus,
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        log_to_driver=True,
    )
    if context.dashboard_url and config.progress.file is not None:
        write_atomically(Path(config.progress.file).parent / "dashboard.json", json.dumps({"url": f"http://{context.dashboard_url}"}))


def told_by_report(directory: Path, config: TrainConfig) -> dict[str, Any]:
    """Return the record's fields that a finished run's report holds, for an attempt that finds it finished."""
    report = json.loads((directory / "report.json").read_text())
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

    from trainer.evaluation import render_table

    Console().print(render_table(json.loads((directory / "report.json").read_text())))
