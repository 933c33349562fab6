"""An API server in memory with the whole controller on it, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable

from controller.kinds import FINE_TUNE_JOBS, RAY_JOBS
from controller.main import Controller
from controller.rights import RIGHTS
from controller.runtime import elector
from controller.runtime.resources import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS
from controller.runtime.transport import Request
from controller.settings import Settings
from tests.builders import resource
from tests.fakes import FakeApi
from tests.fakewire import as_asked
from tests.virtual_time import now, run_in_virtual_time


class Cluster:
    """An API server in memory with a controller that leads."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.api.granted = as_asked([*RIGHTS, *elector.RIGHTS])
        settings = Settings(trainer_image="trainer:1", health_host="127.0.0.1", health_port=0, lease_namespace="ops")
        self.controller = Controller(settings, self.api, clock=now)

    def inputs(self, namespace: str) -> None:
        self.api.put(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "models", "namespace": namespace}})
        self.api.put(CONFIG_MAPS, {"metadata": {"name": "rows", "namespace": namespace}, "data": {"train.jsonl": "{}"}})

    def job(self, name: str, namespace: str = "team-a") -> None:
        metadata = {"name": name, "namespace": namespace, "generation": 1}
        self.api.put(FINE_TUNE_JOBS, {**resource(), "metadata": metadata})

    def started(self, namespace: str = "team-a") -> set[str]:
        """The jobs that have a RayJob of their own."""
        mine = (item["metadata"] for item in self.api.objects(RAY_JOBS) if item["metadata"].get("ownerReferences"))
        return {each["name"].rpartition("-")[0] for each in mine if each["namespace"] == namespace}

    async def until(self, holds: Callable[[], bool], seconds: float = 600.0) -> float:
        began = now()
        while not holds():
            assert now() - began < seconds, f"not after {seconds:g} s"
            await asyncio.sleep(0.1)
        return now() - began

    def asked_since(self, index: int) -> list[Request]:
        """The requests but for the Lease and for watches."""
        return [each for each in self.api.requests[index:] if "/leases" not in each.path and "watch" not in each.query]


def play(act: Callable[[Cluster], Awaitable[None]]) -> None:
    async def main() -> None:
        cluster, stop = Cluster(), asyncio.Event()
        cluster.inputs("team-a")
        running = asyncio.create_task(cluster.controller.run(stop))
        await cluster.until(cluster.controller.elector.leading)
        await act(cluster)
        stop.set()
        await running

    run_in_virtual_time(main())
