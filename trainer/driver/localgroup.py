"""The worker group of a run that nobody watches, on this machine: the control loop of Ray Train runs in the driver itself.

By itself Ray Train starts two processes beside the ranks, each of which imports all of it: one for the control loop, and one through
which ranks that call `ray.train.report` wait for each other. No rank of ours does; they report through the box. Imported when the group
is started, because it needs Ray Train.
Tests: tests/trainer/driver/test_localgroup.py, tests/trainer/rank/test_run.py (real Ray).
"""

import asyncio
import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import ray
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.worker_group import WorkerGroup, state, worker_group

from trainer.driver.ranksgroup import FixedSize, RanksTrainer


class NoActor:
    """What a rank is given in place of the actor through which ranks wait for each other."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # pickle asks for some
            raise AttributeError(name)
        raise RuntimeError("the ranks of a local run report through trainer.reporting.progress, and cannot call ray.train.report")


class LocalTrainer(RanksTrainer):
    """Ray Train's trainer with its control loop in the calling thread."""

    def _initialize_and_run_controller(self, **named: Any) -> Any:
        """Run the workers to their end."""
        with without_synchronization():
            controller = LocalController(**named | {"scaling_policy": FixedSize(self.scaling_config)})
            asyncio.run(controller.run())
        return controller.get_result()


class LocalGroup(WorkerGroup):  # type: ignore[misc]
    """Workers that know no actor of Ray Train, in processes that this Ray may have started beforehand."""

    @staticmethod
    def _get_worker_runtime_env(custom_runtime_env: Any) -> dict[str, Any]:
        """Return nothing beyond the environment of this Ray: for anything else it would start other processes."""
        return {}

    def _init_train_context_on_workers(self, workers: list[Any], sync_actor: Any, train_context_args: dict[str, list[Any]]) -> None:
        """Tell each worker who it is; as Ray Train does it, but for the handle of a controller."""
        ray.get([
            worker.actor.init_train_context.remote(
                train_run_context=self._train_run_context,
                distributed_context=worker.distributed_context,
                synchronization_actor=sync_actor,
                storage_context=self._storage_context,
                worker_callbacks=self._worker_callbacks_to_propagate,
                controller_actor=None,
                **{name: values[number] for name, values in train_context_args.items()},
            )
            for number, worker in enumerate(workers)
        ])  # fmt: skip
        self._decorate_worker_log_file_paths(workers)


class LocalController(TrainController):  # type: ignore[misc]
    """Ray Train's control loop, for a process that is no actor."""

    worker_group_cls = LocalGroup


@contextlib.contextmanager
def without_synchronization() -> Iterator[None]:
    """Have Ray Train neither start nor end the actor through which ranks wait for each other."""
    started, end = worker_group.SynchronizationActor, state._shutdown_sync_actor
    worker_group.SynchronizationActor = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda **_: NoActor()))
    state._shutdown_sync_actor = lambda _: None
    try:
        yield
    finally:
        worker_group.SynchronizationActor, state._shutdown_sync_actor = started, end
