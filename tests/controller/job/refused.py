"""A job whose child the API server refuses, for tests of how it is tried again."""

from datetime import timedelta
from typing import Any

from controller.kinds import RAY_JOBS
from controller.runtime.resources import RESOURCE_QUOTAS
from controller.runtime.transport import Request, Response
from tests.controller.job.world import World

COUNT = "count/rayjobs.ray.io"
FIGURES = f"requested: {COUNT}=1, used: {COUNT}=3, limited: {COUNT}=3"
QUOTA = Response(403, f'{{"kind":"Status","reason":"Forbidden","message":"bot-1 is forbidden: exceeded quota: jobs, {FIGURES}"}}'.encode())
POLICY = Response(422, b'{"kind":"Status","reason":"Invalid","message":"ValidatingAdmissionPolicy \'p\' denied request: not on Fridays"}')
WEBHOOK = Response(403, b'{"kind":"Status","reason":"Forbidden","message":"admission webhook \\"w\\" denied the request: no"}')
GONE = Response(404, b'{"kind":"Status","reason":"NotFound","message":"the server could not find the requested resource"}')
BROKEN = Response(500, b'{"kind":"Status","message":"failed calling webhook \\"w\\": connection refused"}')


def quota(used: str = "3", hard: str = "3", name: str = "jobs") -> dict[str, Any]:
    resource = "count/rayjobs.ray.io"
    return {
        "metadata": {"name": name, "namespace": "team", "uid": f"uid-of-{name}"},
        "spec": {"hard": {resource: hard}},
        "status": {"used": {resource: used}},
    }


async def refused(answer: Response, path: str = "rayjobs", **sections: Any) -> World:
    """A job whose child was refused just now, and is refused until `heal`."""
    world = World(**sections)
    world.api.put(RESOURCE_QUOTAS, quota())
    await world.step()
    world.api.fail(answer, method="POST", path=path, times=1000)
    await world.step()
    return world


async def waiting_long(answer: Response) -> World:
    """A job whose child is refused since long, that was asked for a while ago and is not due soon."""
    world = await refused(answer)
    await requests_of(world, 1200)
    while not 40 <= (await world.step() or 0) <= 70:
        world.now += timedelta(seconds=10)
    return world


def started(world: World) -> bool:
    return any(item["metadata"].get("ownerReferences") for item in world.api.objects(RAY_JOBS))


async def requests_of(world: World, seconds: float) -> list[Request]:
    """Look at the job whenever it asks to be, for so many seconds; return what was asked of the server."""
    before, end = len(world.api.requests), world.now + timedelta(seconds=seconds)
    while world.now < end and not started(world):
        pause = await world.step()
        world.now += timedelta(seconds=min(pause or 1.0, (end - world.now).total_seconds() + 0.1))
    return world.api.requests[before:]
