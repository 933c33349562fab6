"""An attempt that runs, with all the small objects that it needs beside its RayJob, over an API server in memory."""

from controller.runtime.resources import CONFIG_MAPS, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS, KubeObject, Resource
from tests.controller.job.world import World

PROGRESS = "bot-1-progress-0123abcd"
SUPPORTS = [
    (CONFIG_MAPS, "bot-1-config"),
    (CONFIG_MAPS, PROGRESS),
    (SERVICE_ACCOUNTS, "bot-1"),
    (ROLES, "bot-1"),
    (ROLE_BINDINGS, "bot-1"),
]
IDS = ["configuration", "progress", "account", "role", "binding"]


async def running_world() -> World:
    world = World()
    await world.step()
    await world.step()
    world.put_ray_job(1)
    await world.step()
    assert world.condition("Running")["status"] == "True"
    return world


def found(world: World, kind: Resource, name: str) -> KubeObject | None:
    return next((item for item in world.api.objects(kind) if item["metadata"]["name"] == name), None)


def reporting(world: World) -> tuple[str, str] | None:
    conditions = [c for c in world.status["conditions"] if c["type"] == "Reporting"]
    return (conditions[0]["status"], conditions[0]["reason"]) if conditions else None
