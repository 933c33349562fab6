"""What the API server of each supported Kubernetes version serves and takes: its OpenAPI document, from the module k8s.io/kubernetes.

A Go module proxy is enough to get them. Of a module, 100 MB when unpacked, only the document is kept in the cache; its hash is
pinned here. Test: tests/cluster/test_openapi.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.cluster.paths import cache_directory
from tests.cluster.toolchain import BuildError, go_program

MODULE = "k8s.io/kubernetes"
DOCUMENT = Path("api/openapi-spec/swagger.json")
DOCUMENTS = {
    "v1.29.6": "8be9f914b35bf5a9b12a48d9ec7e166f9c165a27a6d8d612662590b8589811ea",
    "v1.30.14": "137f22097f146caa3150deda2eccceec1ecd0b628054d1887bf55f93e715c7cb",
    "v1.31.14": "ddcb3d5c3d85849f1fadb56387d3a7bf44712da291e5bd08b34df4e8a4247f8d",
    "v1.32.13": "2335b4e7f79df85b20066164b14d8f02dd077dee7cd8c7b7fb425009c9837e85",
    "v1.33.13": "2af5abf98554af1599e516f31f7f1698085e6faa12b816401f569c097b9f7ef6",
    "v1.34.4": "d3b0cdc2fda15c753206d25ab459dc7c12df64e2fd652b6809687471ea751c37",
    "v1.35.4": "483500149ee52ce5753d75f5639101d985bb4f5e902cc05b1ba7627465d62446",
    "v1.36.4": "dcede2063da1d7ad62ecb5af8adb6d7fabd0b52385a7fa0048afb491dac90450",
    "v1.37.2": "465276aedf437726de5a6ed23a41b86d78bb0d347edf251a755ae26a93cdd8a6",
}
"""A version of each minor that the chart takes, the oldest first, and its document's SHA-256. Within a minor the API stays as it is."""


class DocumentUnavailableError(BuildError):
    """The document could not be downloaded; the message says why."""


def document(version: str) -> Path:
    """The path of a version's document, downloaded if the cache does not have it."""
    digest = DOCUMENTS[version]
    published = cache_directory() / "openapi" / f"kubernetes-{version}-{digest[:12]}.json"
    if not published.exists():
        published.parent.mkdir(exist_ok=True)
        print(f"downloading the API of Kubernetes {version} (once; seconds)", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=published.parent, prefix="download-") as partial:
            found = _download(version, Path(partial))
            if hashlib.sha256(found.read_bytes()).hexdigest() != digest:
                raise BuildError(f"{DOCUMENT} of {MODULE}@{version} has another hash than tests/cluster/openapi.py says")
            found.rename(published)
    return published


def download_all() -> None:
    """Download what the cache lacks; where there is no way to, say which tests will be skipped."""
    try:
        for version in DOCUMENTS:
            document(version)
    except DocumentUnavailableError as error:
        print(f"{error}\ntests of objects against other versions of Kubernetes will be skipped", file=sys.stderr, flush=True)


def _download(version: str, folder: Path) -> Path:
    """Unpack the module into a cache of its own, which goes with the folder."""
    try:
        go = go_program()
    except BuildError as error:
        raise DocumentUnavailableError(f"{MODULE}@{version}: {error}") from error
    # The document's hash is pinned: no checksum database has to be reachable. Unless told, Go makes the folders read-only.
    settings = {"GOMODCACHE": str(folder), "GOFLAGS": "-modcacherw", "GOSUMDB": "off", "GOWORK": "off"}
    command = [str(go), "mod", "download", "-json", f"{MODULE}@{version}"]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DocumentUnavailableError(f"{MODULE}@{version} could not be downloaded: {_reason(done)}")
    found = folder / DOCUMENT.name
    shutil.copyfile(Path(json.loads(done.stdout)["Dir"]) / DOCUMENT, found)
    return found


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    try:
        return str(json.loads(done.stdout)["Error"])
    except (ValueError, KeyError):
        return done.stderr.strip()
