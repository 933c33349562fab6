"""The few requests that bring a cluster up, over the standard library.

Manifests go to the server as they lie in their files: parsing KubeRay's definitions in Python alone takes seconds.
Nothing here is meant for the tests themselves; they use a real client with `.kubeconfig`.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REQUEST_TIMEOUT_SECONDS = 60.0
PROBE_TIMEOUT_SECONDS = 1.0
FIELD_MANAGER = "tests-cluster"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


class ApiError(RuntimeError):
    """The API server refused a request, or could not be reached (status 0)."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class ApiServer:
    """An API server's address, the certificate authority that vouches for it, and a bearer token."""

    url: str
    authority: Path
    token: str

    def request(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> dict[str, Any]:
        """Send one request; bytes go as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type, "Accept": "application/json"}
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        context = ssl.create_default_context(cafile=str(self.authority))
        # The server is on this machine: a proxy of the environment must not see the request.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        try:
            with opener.open(request, timeout=REQUEST_TIMEOUT_SECONDS) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            with error:
                raise ApiError(f"{method} {path}: {_reason(error.read())}", error.code) from error
        except (urllib.error.URLError, OSError) as error:
            raise ApiError(f"{method} {path}: {error}", 0) from error
        answer = json.loads(text) if text.startswith(b"{") else {"text": text.decode()}
        return dict(answer)

    def get(self, path: str) -> dict[str, Any]:
        return self.request("GET", path)

    def exists(self, path: str) -> bool:
        try:
            self.get(path)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def apply(self, path: str, manifest: Mapping[str, object] | bytes) -> dict[str, Any]:
        """Create or change one object by server-side apply; JSON is YAML, so both kinds of body are the same to it."""
        return self.request("PATCH", f"{path}?fieldManager={FIELD_MANAGER}&force=true", manifest, APPLY)

    def ready(self) -> bool:
        try:
            return self.get("/readyz") == {"text": "ok"}
        except ApiError:
            return False

    def wait_for(self, path: str, condition: str, seconds: float = 90.0) -> None:
        """Wait until `.status.conditions` of the object at `path` holds `condition` with status True."""
        deadline = time.monotonic() + seconds
        while True:
            conditions = self.get(path).get("status", {}).get("conditions") or []  # null in a new definition
            if any(entry["type"] == condition and entry["status"] == "True" for entry in conditions):
                return
            if time.monotonic() > deadline:
                raise ApiError(f"{path} is not {condition} after {seconds:.0f} s: {json.dumps(conditions)}", 0)
            time.sleep(0.1)


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")


def http_ok(url: str) -> bool:
    """Whether a health end point of this machine answers with 200; what speaks no HTTP there is not it."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=PROBE_TIMEOUT_SECONDS) as response:
            return bool(response.status == 200)
    except (OSError, http.client.HTTPException):
        return False
