"""Writes Kubernetes Events, which `kubectl describe` shows below an object; only for transitions.

An Event that cannot be written is logged and forgotten: nothing depends on it. Tests:
tests/controller/runtime/test_events.py, tests/integration/test_runtime_client.py.
"""

import asyncio
import logging
import uuid
from datetime import UTC, datetime
from typing import Literal

from controller.runtime.client import Client
from controller.runtime.errors import KubeError
from controller.runtime.resources import EVENTS, KubeObject
from controller.runtime.rights import rights

log = logging.getLogger(__name__)

RIGHTS = rights(EVENTS, "create")
NOTE_MAX_BYTES = 1024
REASON_MAX_LENGTH = 128
WRITE_TIMEOUT_SECONDS = 5.0
"""A job must not wait for its Event."""

EventType = Literal["Normal", "Warning"]


class EventRecorder:
    """Records what happened to objects, in the name of `component`, by the process `instance`."""

    def __init__(self, client: Client, component: str, instance: str) -> None:
        self._client = client
        self._component = component
        self._instance = instance

    async def record(self, regarding: KubeObject, type_: EventType, reason: str, message: str, action: str = "Reconcile") -> None:
        """Write one Event about `regarding`; raises nothing, unless cancelled."""
        metadata = regarding["metadata"]
        namespace = metadata.get("namespace", "default")
        event: KubeObject = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"namespace": namespace, "name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}"},
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "type": type_,
            "reason": reason[:REASON_MAX_LENGTH],
            "note": _shorten(message),
            "action": action,
            "reportingController": self._component,
            "reportingInstance": self._instance[:REASON_MAX_LENGTH],
            "regarding": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "name": metadata["name"],
                "namespace": metadata.get("namespace"),
                "uid": metadata.get("uid"),
            },
        }
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
                await self._client.create(EVENTS, event)
        except (KubeError, TimeoutError) as error:
            about = {"name": f"{namespace}/{metadata['name']}", "reason": reason, "error": str(error) or "no answer in time"}
            log.warning("event not written", extra={"about": about})


def _shorten(message: str) -> str:
    encoded = message.encode()
    if len(encoded) <= NOTE_MAX_BYTES:
        return message
    return encoded[: NOTE_MAX_BYTES - 3].decode(errors="ignore") + "…"
