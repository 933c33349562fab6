"""`finetune check`: everything that can be said of a job without training. Tests: tests/finetune/cli/test_check.py."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from finetune.api.record import EXIT_FAILURE, EXIT_SUCCESS, Result
from finetune.api.resolve import local_paths
from finetune.api.trainconfig import TrainConfig
from finetune.cli.jobfile.reading import JobFile, read_job_file
from finetune.cli.local.configuration import Folders, LocalRun, plan_local_run
from finetune.cli.local.inspection import ask_trainer
from finetune.cli.local.interrupts import Interrupts
from finetune.cli.local.machine import Machine
from finetune.cli.local.outcome import run_command_line
from finetune.cli.local.process import TRAINER_COMMAND
from finetune.cli.local.screen import PlainScreen
from finetune.cli.local.surroundings import surroundings

LARGEST_REMEMBERED = 256 * 1024 - 500
"""Bytes of JSON that `kubectl apply` can remember of an object in an annotation, of which there may be 256 KiB."""


def check(
    job_file: Path, claims: Mapping[str, Path], machine: Machine | None = None, trainer: Sequence[str] = TRAINER_COMMAND,
    jobs: Mapping[str, Path] = MappingProxyType({}),
) -> int:  # fmt: skip
    """Print what would be done and what was found; return the exit code; BadInputError for the user's mistakes."""
    with Interrupts(), surroundings() as place:
        job = read_job_file(job_file)
        folders = Folders(place.folder / "check" / "output", place.folder / "check")
        local_run = plan_local_run(job, folders, claims, machine or Machine.here(), jobs)
        screen = PlainScreen(sys.stdout)
        for line in [*describe(job, local_run), *(f"warning: {warning}" for warning in place.warnings)]:
            screen.say(line)
        outcome = ask_trainer(local_run, folders, trainer, place, say=screen.say)
    if outcome.result is not Result.SUCCEEDED:
        screen.say(f"failed ({outcome.reason}): {outcome.message}")
        return EXIT_FAILURE
    screen.say(f"{job_file} is valid; train with: {run_command_line(job_file, 'DIR', claims, jobs)}")
    return EXIT_SUCCESS


def describe(job: JobFile, local_run: LocalRun) -> list[str]:
    """Return what a run would do, in lines."""
    config = local_run.config
    lines = [f"job {job.name}: {config.task.value}, {_method(config)}, {_length(config)}", f"workers: {_workers(config)}"]
    lines.append(f"output: {', '.join(export.value for export in config.exports)} model, report and checkpoints, in the folder of --output")
    lines += cluster_needs(job)
    return [*lines, *local_run.notices, *(f"warning: {warning}" for warning in local_run.warnings)]


def cluster_needs(job: JobFile) -> list[str]:
    """Return what this file, which is good here, would need on a cluster, in sentences."""
    needs = [] if job.names_output else ["spec.output.persistentVolumeClaim.claimName, the claim that results are written to"]
    paths = [f"spec.{reference.field}.path" for reference in local_paths(job.spec)]
    if paths:
        needs.append(f"a claim, a ConfigMap or a name on the hub instead of {', '.join(paths)}")
    sentences = [f"a cluster also needs {'; '.join(needs)}"] if needs else []
    large = [name for name, found in job.config_maps.items() if found.size_as_json > LARGEST_REMEMBERED]
    if large:
        sentences.append(f"a cluster also needs kubectl apply --server-side: ConfigMap {', '.join(large)} is too large without it")
    return sentences


def _method(config: TrainConfig) -> str:
    method = config.method
    if method.lora is not None:
        variants = " with ".join(name for name, used in (("rsLoRA", method.lora.use_rslora), ("DoRA", method.lora.use_dora)) if used)
        return f"{variants or 'LoRA'} of rank {method.lora.rank}"
    if method.osf is not None:
        return "weak directions of weights (OSF)"
    return "all weights" if method.full is None or method.full.freeze is None else "all weights but frozen ones"


def _length(config: TrainConfig) -> str:
    training = config.training
    length = _counted(training.max_steps, "step") if training.max_steps is not None else _counted(training.epochs or 0, "epoch")
    return f"{length}, {_counted(training.global_batch_size, 'row')} a step"


def _workers(config: TrainConfig) -> str:
    workers = config.workers
    device = _counted(workers.gpus_per_worker, "GPU") if workers.gpus_per_worker else _counted(workers.cpus_per_worker, "CPU")
    engine = f"DeepSpeed ZeRO-{workers.deepspeed.zero_stage}" if workers.deepspeed else "DistributedDataParallel"
    return f"{workers.workers} with {device} each, {engine}"


def _counted(count: float, noun: str) -> str:
    return f"{count:g} {noun}" if count == 1 else f"{count:g} {noun}s"
