"""The worker group of a run as Ray Train starts it, with no more processes and imports than the ranks need.

TorchTrainer imports torch in the driver and in Ray Train's controller, where nothing computes, and each of its helpers is a process
that imports all of Ray Train. Imported when the group is started, because it needs Ray Train.
Tests: tests/trainer/driver/test_workers.py, tests/trainer/rank/test_run.py (real Ray).
"""

import logging
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError
from ray.train._internal.utils import get_address_and_port
from ray.train.backend import Backend, BackendConfig
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2._internal.util import TrainingFramework
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from trainer.rank.processgroup import join_process_group, leave_process_group

logger = logging.getLogger(__name__)

NEEDLESS_CALLBACKS = (
    DatasetsCallback,  # a process to split Ray datasets: rows are read from files
    PlacementGroupCleanerCallback,  # a process that removes what a killed controller leaves: the Ray of a run ends with its driver
)
LEAVE_SECONDS = 30.0


class FixedSize(FixedScalingPolicy):  # type: ignore[misc]
    """As many workers as were asked for, without telling an autoscaler: there is none, and the actor to tell imports all of Ray Data."""

    def _send_resource_request(self) -> None:
        """Ask nobody."""

    _maybe_send_resource_request = _cancel_resource_request = _send_resource_request


class RanksTrainer(DataParallelTrainer):  # type: ignore[misc]
    """Ray Train's trainer without the helpers that no run of ours uses."""

    def _initialize_and_run_controller(self, **named: Any) -> Any:
        """Run the workers to their end."""
        return super()._initialize_and_run_controller(**named | {"scaling_policy": FixedSize(self.scaling_config)})

    def _create_default_callbacks(self) -> list[Any]:
        """Return what hooks into Ray Train's controller."""
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, NEEDLESS_CALLBACKS)]


@dataclass
class ProcessGroupConfig(BackendConfig):  # type: ignore[misc]
    """Which torch.distributed backend the ranks meet through: nccl or gloo."""

    backend: str

    @property
    def backend_cls(self) -> type[Backend]:
        """What starts it."""
        return ProcessGroup

    @property
    def framework(self) -> Any:
        """What the dashboard shows."""
        return TrainingFramework.TORCH

    def to_dict(self) -> dict[str, Any]:
        """Return the settings that the dashboard shows."""
        return {"backend": self.backend}


class ProcessGroup(Backend):  # type: ignore[misc]
    """Makes the workers one process group of torch. Runs in Ray Train's control loop, in a process that needs no torch."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: ProcessGroupConfig) -> None:
        """Have all workers meet at an address of rank 0."""
        address, port = worker_group.execute_single(0, get_address_and_port)
        worker_group.execute(join_process_group, address, port, backend_config.backend)

    def on_shutdown(self, worker_group: Any, backend_config: ProcessGroupConfig) -> None:
        """Have all workers leave; one that hangs is not waited for."""
        try:
            ray.get(worker_group.execute_async(leave_process_group), timeout=LEAVE_SECONDS)
        except GetTimeoutError:
            logger.warning("the process group did not end in %.0f s", LEAVE_SECONDS)
