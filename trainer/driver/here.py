"""Runs the only rank of a run on this machine inside this program: a single process has nothing to share, and needs no Ray.

Changes the process: its environment, and where its stdout goes meanwhile. Tests: tests/trainer/driver/test_here.py,
tests/trainer/rank/test_run.py and tests/finetune/cli/test_one_worker.py (whole runs).
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

from finetune.api.record import Stage
from finetune.api.timings import TimedStage
from finetune.api.trainconfig import TrainConfig
from finetune.system.threads import THREADS_ENVIRONMENT
from trainer.driver.publisher import Reports
from trainer.driver.raystart import LOOPBACK_ENVIRONMENT, resources_of_a_rank
from trainer.driver.stopping import StopRequest
from trainer.preflight.inputs import Inputs
from trainer.rank.launch import set_environment, use_threads
from trainer.reporting.messages import RecordUpdate
from trainer.reporting.stageclock import StageClock
from trainer.storage.ownership import Ownership


def runs_here(config: TrainConfig) -> bool:
    """Return whether the run is one rank on this machine, and nobody wants to see it on Ray's dashboard."""
    return not config.has_dashboard and config.workers.world_size == 1


def prepare_environment(config: TrainConfig) -> None:
    """Set what Ray sets for a worker: threads, devices, rank. Call it before torch is imported, which reads them once."""
    os.environ.setdefault("OMP_NUM_THREADS", str(int(resources_of_a_rank(config)["CPU"])))
    gpu = config.workers.gpus_per_worker > 0
    os.environ["CUDA_VISIBLE_DEVICES"] = first_device(os.environ.get("CUDA_VISIBLE_DEVICES")) if gpu else ""
    for name, value in (LOOPBACK_ENVIRONMENT | THREADS_ENVIRONMENT).items():
        os.environ.setdefault(name, value)
    set_environment(rank=0, world_size=1, local_rank=0, local_size=1, gpu=gpu)


def go_first() -> None:
    """Have Linux kill this program before any other when memory runs out, as it does Ray's workers: `finetune` is left to say so."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")  # proc(5): the highest there is


def first_device(visible: str | None) -> str:
    """Return the device that the rank takes, by number or UUID, of those in a CUDA_VISIBLE_DEVICES; None: all are visible."""
    return "0" if visible is None else visible.split(",")[0].strip()


def fit_here(config: TrainConfig, inputs: Inputs, ownership: Ownership, publisher: Reports, stop: StopRequest, clock: StageClock,
             *, only_results: bool = False) -> None:  # fmt: skip
    """Run the rank to its end, or to a stop on request; raises what it raises. `only_results`: without training."""
    clock.begin(TimedStage.LOAD)
    from trainer.rank.assignment import Assignment
    from trainer.rank.run import execute

    use_threads()
    sender, of_rank = DirectSender(publisher, stop), clock.passed_on_here("rank 0")
    with stdout_in_the_log(), process_group(config):
        execute(Assignment(config, inputs, ownership.owner, sender, only_results=only_results, clock=of_rank))


class DirectSender:
    """The rank's way to the publisher and to the request to stop, which are in the same program.

    What is sent is frozen or a copy, so that another thread can read it.
    """

    def __init__(self, publisher: Reports, stop: StopRequest) -> None:
        self._publisher, self._stop = publisher, stop

    def send(self, **changes: Unpack[RecordUpdate]) -> None:
        """Hand changed fields of the record to the publisher, whose thread writes them."""
        stage: Stage | None = changes.get("stage")
        if stage is not None:
            self._stop.note(stage)
        self._publisher.update(**changes)

    def stop_requested(self, wait_seconds: float = 0.0) -> bool:
        """Return whether a signal has come; nothing is waited for."""
        return self._stop.wanted


@contextlib.contextmanager
def stdout_in_the_log() -> Iterator[None]:
    """Send stdout to where stderr goes: libraries write to it, also below Python, and it is for the user's eyes."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


@contextlib.contextmanager
def process_group(config: TrainConfig) -> Iterator[None]:
    """Have a process group of this one rank where DeepSpeed asks for one. Its store is in memory: nothing is connected to.

    The runs of a job share one, which then lasts as long as the program: DeepSpeed keeps groups that it made of the first.
    """
    if config.workers.deepspeed is None:
        yield
        return
    from torch import distributed
    from torch._C._distributed_c10d import HashStore

    if distributed.is_initialized():
        yield
        return
    backend = "nccl" if config.workers.gpus_per_worker > 0 else "gloo"
    distributed.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        if config.derived is None and not config.evaluation.ablations:
            distributed.destroy_process_group()
