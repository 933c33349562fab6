"""Many jobs at rest, made without waiting for each: finished ones with their RayJobs and progress, and some that wait.

Test: tests/bench/controller/test_whole.py.
"""

import asyncio
import json
from typing import Any

from bench.controller import load
from bench.controller.cluster import Cluster, wait
from bench.controller.waiting import has_phase, there, until

REST = "rest"
WAITING_SHARE = 5
"""One of so many jobs at rest waits for a claim; the others have finished."""
SUPPORT_PATHS = (
    load.CONFIG_MAPS,
    "/api/v1/namespaces/{}/serviceaccounts",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
)


def looked_at(cluster: Cluster, count: int) -> bool:
    """Return whether the controller that was started last has looked at so many jobs and has nothing left to do."""
    return cluster.leads() and cluster.metric("reconcile_seconds_count") >= count and cluster.metric("queue_depth") == 0


async def fill(cluster: Cluster, api: load.Api, count: int) -> None:
    """Have the controller bring one job to its end and let one wait, end the controller, and create the others as copies of them."""
    await load.prepare(api, REST)
    cluster.start_controller()
    await asyncio.to_thread(wait, cluster.leads, "our controller leads", 60)
    jobs, ray_jobs = load.JOBS.format(REST), load.RAY_JOBS.format(REST)
    await api.send("POST", jobs, load.job("done"))
    await api.send("POST", jobs, load.job("waits", claim="missing"))
    await until(lambda: there(api, ray_jobs, 1), "a RayJob", 60)
    progress = load.progress_metadata(await api.send("GET", f"{ray_jobs}/done-1"))
    outcome = {"result": "Succeeded", "reason": "Succeeded", "message": "perplexity 18.42 -> 9.64"}
    last = {**load.record("done-1-abcde", 9, load.now_text()), "stage": "Finished", "outcome": outcome}
    await api.send("PATCH", f"{ray_jobs}/done-1/status", {"status": load.running_status("done-1-abcde")}, load.MERGE)
    await asyncio.sleep(1)
    await api.send("POST", load.CONFIG_MAPS.format(REST), {"metadata": progress, "data": {load.RECORD_KEY: json.dumps(last)}})
    await asyncio.sleep(1)
    ended = {"jobStatus": "SUCCEEDED", "jobDeploymentStatus": "Complete"}
    await api.send("PATCH", f"{ray_jobs}/done-1/status", {"status": ended}, load.MERGE)
    await until(lambda: has_phase(api, f"{jobs}/done", "Succeeded"), "a job has succeeded", 60)
    await until(lambda: has_phase(api, f"{jobs}/waits", "Waiting"), "a job waits", 60)
    await asyncio.to_thread(cluster.stop_controller)
    models = [await api.send("GET", f"{jobs}/{name}") for name in ("done", "waits")]
    children = [(await api.send("GET", f"{ray_jobs}/done-1")), *await _supports(api)]
    await asyncio.gather(*(_copy(api, number, models, children) for number in range(count - 2)))


async def _supports(api: load.Api) -> list[load.Object]:
    """Return what the finished job left beside its RayJob."""
    found = []
    for path in SUPPORT_PATHS:
        for item in await api.list_all(path.format(REST) + "?labelSelector=finetune.dev/job%3Ddone"):
            found.append({**item, "path": path})
    return found


async def _copy(api: load.Api, number: int, models: list[load.Object], children: list[load.Object]) -> None:
    finished = number % WAITING_SHARE != 0
    model, name = models[0 if finished else 1], f"job-{number:05d}"
    path = load.JOBS.format(REST)
    made = await api.send("POST", path, load.copied(model, name))
    status = _renamed(model["status"], model["metadata"]["name"], name)
    await api.send("PATCH", f"{path}/{name}/status", {"status": status}, load.MERGE)
    if not finished:
        return
    uid = made["metadata"]["uid"]
    for child in children:
        old_uid = child["metadata"]["ownerReferences"][0]["uid"]
        wanted = child["metadata"]["name"].replace("done", name).replace(old_uid[:8], uid[:8])
        content = {key: value for key, value in child.items() if key != "path"}
        where = child.get("path", load.RAY_JOBS).format(REST)
        await api.send("POST", where, load.copied(content, wanted, owner=(name, uid)))
        if "path" not in child:
            await api.send("PATCH", f"{where}/{wanted}/status", {"status": child["status"]}, load.MERGE)


def _renamed(value: Any, old: str, new: str) -> Any:
    """Return a status with the names of another job in it."""
    return json.loads(json.dumps(value).replace(f'"{old}-1', f'"{new}-1').replace(f"/{old}-", f"/{new}-"))
