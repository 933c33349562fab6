"""Small Kubernetes objects, and a wait for what the event loop brings about."""

import asyncio
from collections.abc import Callable
from typing import Any

from controller.runtime.resources import Resource

WIDGETS = Resource("test.dev", "v1", "widgets", "Widget")


def widget(name: str, *, namespace: str = "team-a", **fields: Any) -> dict[str, Any]:
    """An object of the made-up kind Widget; `labels` go into its metadata, all else beside it."""
    metadata = {"name": name, "namespace": namespace, **({"labels": fields.pop("labels")} if "labels" in fields else {})}
    return {"apiVersion": WIDGETS.api_version, "kind": WIDGETS.kind, "metadata": metadata, **fields}


async def until(condition: Callable[[], bool], *, seconds: float = 60.0, step: float = 0.01) -> None:
    """Return once `condition` holds; fails after `seconds` of the loop's time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  (nobody would set an event)
            await asyncio.sleep(step)
