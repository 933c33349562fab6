"""The users, KubeRay and the trainers of many jobs, played by one client: creates objects, sets states, reports progress.

Test: tests/bench/controller/test_load.py (its objects), tests/bench/controller/test_whole.py.
"""

import asyncio
import copy
import json
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.cluster.controlplane import ControlPlane

AT_ONCE = 32
"""Requests in flight: more only makes them wait in the API server."""
JOBS = "/apis/finetune.dev/v1alpha1/namespaces/{}/finetunejobs"
RAY_JOBS = "/apis/ray.io/v1/namespaces/{}/rayjobs"
RAY_CLUSTERS = "/apis/ray.io/v1/namespaces/{}/rayclusters"
CONFIG_MAPS = "/api/v1/namespaces/{}/configmaps"
CLAIMS = "/api/v1/namespaces/{}/persistentvolumeclaims"
MERGE = "application/merge-patch+json"
RECORD_KEY = "record.json"
FIRST_SEQUENCE = 1

Object = dict[str, Any]


class Api:
    """Requests as the administrator, over kept connections."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url, self._places = session, url, asyncio.Semaphore(AT_ONCE)

    @classmethod
    @asynccontextmanager
    async def of(cls, plane: ControlPlane) -> AsyncIterator["Api"]:
        """Connect to a control plane."""
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(plane.authority)), limit=AT_ONCE)
        headers = {"Authorization": f"Bearer {plane.admin_token}"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            yield cls(session, plane.url)

    async def send(self, method: str, path: str, body: Object | None = None, content_type: str = "application/json") -> Object:
        """Send one request; RuntimeError with the server's words when it is refused."""
        data = None if body is None else json.dumps(body)
        async with (
            self._places,
            self._session.request(method, self._url + path, data=data, headers={"Content-Type": content_type}) as answer,
        ):
            text = await answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {text[:500].decode(errors='replace')}")
        return dict(json.loads(text))

    async def post_all(self, path: str, items: Iterable[Object]) -> list[Object]:
        """Create all objects, as many at a time as there are places; return them as stored, in order."""
        return list(await asyncio.gather(*(self.send("POST", path, item) for item in items)))

    async def list_all(self, path: str) -> list[Object]:
        """Return all objects of a collection."""
        return list((await self.send("GET", path))["items"])

    async def count(self, path: str) -> int:
        """Return how many objects a collection has, without reading them."""
        answer = await self.send("GET", f"{path}?limit=1")
        return len(answer["items"]) + int(answer["metadata"].get("remainingItemCount") or 0)


async def prepare(api: Api, namespace: str) -> None:
    """Create a namespace with the claim and the rows that jobs name."""
    await api.send("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    await api.send("POST", CLAIMS.format(namespace), {"metadata": {"name": "models"}, "spec": claim})
    rows = {"train.jsonl": '{"prompt": "a", "completion": "b"}\n'}
    await api.send("POST", CONFIG_MAPS.format(namespace), {"metadata": {"name": "rows"}, "data": rows})


def job(name: str, claim: str = "models") -> Object:
    """Return a job as a user writes it: a LoRA on one GPU with rows from a ConfigMap, which many jobs share."""
    spec = {
        "task": "chat",
        "model": {"name": "org/model"},
        "data": {"train": [{"configMap": {"name": "rows", "key": "train.jsonl"}}]},
        "method": {"lora": {"rank": 16, "alpha": 32}},
        "training": {"epochs": 3, "learningRate": 0.0002, "globalBatchSize": 16, "maxSequenceLength": 2048},
        "resources": {"gpus": 1, "cpu": "4", "memory": "32Gi"},
        "output": {"persistentVolumeClaim": {"claimName": claim}},
    }
    return {"apiVersion": "finetune.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": name}, "spec": spec}


def names(count: int) -> Iterator[str]:
    """Yield the names of jobs."""
    return (f"job-{number:05d}" for number in range(count))


def running_status(cluster: str) -> Object:
    """Return the status of a RayJob whose driver runs, as KubeRay 1.6 writes it."""
    return {
        "jobId": f"{cluster}-x", "rayClusterName": cluster, "jobStatus": "RUNNING", "jobDeploymentStatus": "Running",
        "dashboardURL": f"{cluster}-head-svc.x.svc.cluster.local:8265", "startTime": "2026-01-01T00:00:00Z", "failed": 0, "succeeded": 0,
    }  # fmt: skip


def record(cluster: str, sequence: int, time_text: str) -> Object:
    """Return a progress record as the trainer writes it in the middle of training."""
    return {
        "attempt": 1,
        "cluster": cluster,
        "sequence": sequence,
        "time": time_text,
        "stage": "Training",
        "progress": {
            "step": sequence * 7, "totalSteps": 5000, "epoch": 0.5, "tokensSeen": sequence * 229376,
            "tokensPerSecond": 9100.5, "etaSeconds": 3600.5,
        },
        "metrics": {"latest": {"perplexity": 12.5 + 1 / sequence, "bitsPerByte": 0.8}},
    }  # fmt: skip


def now_text() -> str:
    """Return the time as records have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def copied(item: Mapping[str, Any], name: str, owner: tuple[str, str] | None = None) -> Object:
    """Return an object like a stored one, under another name and for another job (name and UID), to be created."""
    metadata = item["metadata"]
    kept: Object = {"name": name, **{key: copy.deepcopy(metadata[key]) for key in ("labels", "annotations") if key in metadata}}
    if owner is not None:
        kept["ownerReferences"] = [{**metadata["ownerReferences"][0], "name": owner[0], "uid": owner[1]}]
        kept["labels"] |= {"finetune.dev/job": owner[0], "finetune.dev/job-uid": owner[1]}
    content = {key: copy.deepcopy(value) for key, value in item.items() if key not in ("metadata", "status")}
    return {**content, "metadata": kept}


def progress_metadata(ray_job: Mapping[str, Any]) -> Object:
    """Return the metadata that a driver creates its progress object with."""
    metadata = ray_job["metadata"]
    name = f"{metadata['name']}-progress-{metadata['ownerReferences'][0]['uid'][:8]}"
    owners = [{**metadata["ownerReferences"][0], "blockOwnerDeletion": False}]
    return {"name": name, "labels": metadata["labels"], "ownerReferences": owners}


class Player:
    """KubeRay and the trainers of jobs that run: each reports every `interval` seconds, spread evenly."""

    def __init__(self, api: Api, namespace: str, progress: Mapping[str, Object], interval: float) -> None:
        """`progress` is the metadata of the progress object of each Ray cluster, which its first report creates."""
        self._api, self._namespace, self._progress, self._interval = api, namespace, dict(progress), interval
        self.reported = 0

    async def run(self, seconds: float) -> None:
        """Report for so long; reports that the machine cannot keep up with are late, not lost."""
        begin, clusters = time.monotonic(), sorted(self._progress)
        pause = self._interval / len(clusters)
        tasks: set[asyncio.Task[None]] = set()
        number = 0
        while (due := begin + number * pause) < begin + seconds:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._report(clusters[number % len(clusters)], FIRST_SEQUENCE + number // len(clusters)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
        await asyncio.gather(*tasks)

    async def _report(self, cluster: str, sequence: int) -> None:
        path, metadata = CONFIG_MAPS.format(self._namespace), self._progress[cluster]
        data = {RECORD_KEY: json.dumps(record(cluster, sequence, now_text()))}
        if sequence == FIRST_SEQUENCE:
            await self._api.send("POST", path, {"metadata": metadata, "data": data})
        else:
            await self._api.send("PATCH", f"{path}/{metadata['name']}", {"data": data}, MERGE)
        self.reported += 1
