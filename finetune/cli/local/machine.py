"""What this machine offers, and how a job that was written for a cluster is spread over it.

Tests: tests/finetune/cli/local/test_machine.py.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from finetune.api.spec import FineTuneJobSpec
from finetune.api.trainconfig import Workers


@dataclass(frozen=True)
class Machine:
    """CPUs that this process may use and NVIDIA devices that it may see."""

    cpus: int
    gpus: int

    @classmethod
    def here(cls) -> "Machine":
        """Measure this machine."""
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        gpus = len(list(Path("/dev").glob("nvidia[0-9]*")))
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible is not None:
            gpus = min(gpus, sum(device.strip() not in ("", "-1") for device in visible.split(",")))
        return cls(cpus, gpus)


def spread(spec: FineTuneJobSpec, machine: Machine) -> tuple[Workers, str | None]:
    """Return the workers of a run here, and a warning where they are not those that the job asks for.

    The loss does not depend on the number of ranks, so fewer GPUs than asked for change the time, rounding and
    which units dropout drops, nothing else; without any GPU the workers stay as they are and compute on CPUs.
    """
    distributed, resources = spec.distributed, spec.resources
    workers = distributed.workers if distributed else 1
    gpus = resources.gpus if resources else 0
    warning = None
    if gpus > 0 and workers * gpus > machine.gpus:
        asked = f"spec.resources.gpus: the job asks for {workers} x {gpus} GPUs, this machine has {machine.gpus}"
        workers, gpus = _fit(workers, gpus, spec.training.global_batch_size, machine.gpus)
        where = f"{workers} x {gpus} GPUs" if gpus else "CPUs"
        warning = f"{asked}; it runs on {where}"
    cpus_per_worker = max(1, machine.cpus // workers)
    deepspeed = distributed.deepspeed if distributed else None
    if deepspeed is not None and gpus == 0:
        deepspeed = deepspeed.changed(offload=None)  # all state is in the host's memory
    return Workers(workers=workers, gpus_per_worker=gpus, cpus_per_worker=cpus_per_worker, deepspeed=deepspeed), warning


def _fit(workers: int, gpus: int, global_batch_size: int, available: int) -> tuple[int, int]:
    """Return the most ranks that the devices allow and the batch divides into."""
    if available == 0:
        return (workers if global_batch_size % workers == 0 else 1), 0
    if available >= gpus:
        fitting = next(count for count in range(available // gpus, 0, -1) if global_batch_size % (count * gpus) == 0)
        return fitting, gpus
    return 1, next(count for count in range(available, 0, -1) if global_batch_size % count == 0)
