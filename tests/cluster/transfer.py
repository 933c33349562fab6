"""Moves an image from buildah's store into containerd's, sending only the layers that containerd does not hold.

A trainer image is 7 GB, nearly all of it libraries: after a change of the project's own code only the last layer
differs. buildah can only hand out whole images, so its archive is read as a stream, and what containerd has already is
passed over. (Its OCI output would skip those layers, but compresses every other, which takes minutes.)
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import IO, Any

from tests.cluster.buildah import Buildah, ImageError
from tests.cluster.paths import cache_directory
from tests.cluster.runtime import ContainerRuntime

IMAGE_NAME = "io.containerd.image.name"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


def transfer(buildah: Buildah, runtime: ContainerRuntime, name: str) -> None:
    """Make an image of buildah's store an image of containerd, unpacked and ready to run."""
    with runtime.replacing(name):
        try:
            _move(buildah, runtime, name, runtime.content)
        except ImageError as error:
            # A start that was cut short may have left files of layers that containerd no longer counts as its own.
            print(f"{error}; sending the whole image", file=sys.stderr, flush=True)
            _move(buildah, runtime, name, None)


def _move(buildah: Buildah, runtime: ContainerRuntime, name: str, held: Path | None) -> None:
    with tempfile.TemporaryDirectory(dir=cache_directory()) as folder:
        blobs = Path(folder)
        with buildah.archive(name) as archive:
            manifest = _receive(archive, held, blobs)
        _send(runtime, name, manifest, blobs)


def _receive(archive: IO[bytes], held: Path | None, blobs: Path) -> dict[str, Any]:
    """Keep the blobs that are not in the folder `held`; returns the image's manifest in OCI's form."""
    sizes: dict[str, int] = {}
    listing: list[dict[str, Any]] = []
    with tarfile.open(fileobj=archive, mode="r|") as stream:
        for entry in stream:
            # A layer is DIGEST.tar and the configuration DIGEST.json; links are for older programs.
            digest = entry.name.partition(".")[0]
            source = stream.extractfile(entry) if entry.isreg() else None
            if source is None:
                continue
            if entry.name == "manifest.json":
                listing = json.load(source)
            elif len(digest) == 64 and "/" not in entry.name:
                sizes[digest] = entry.size
                if held is None or not (held / digest).exists():
                    with (blobs / digest).open("wb") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
    if len(listing) != 1:
        raise ImageError(f"buildah's archive lists {len(listing)} images instead of one")

    def descriptor(kind: str, file_name: str) -> dict[str, Any]:
        digest = file_name.partition(".")[0]
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": sizes[digest]}

    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor(CONFIG_TYPE, listing[0]["Config"]),
        "layers": [descriptor(LAYER_TYPE, layer) for layer in listing[0]["Layers"]],
    }


def _send(runtime: ContainerRuntime, name: str, manifest: dict[str, Any], blobs: Path) -> None:
    with subprocess.Popen(
        runtime.command("images", "import", "-"),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as importer:
        assert importer.stdin is not None
        assert importer.stderr is not None
        try:
            _write_layout(importer.stdin, name, manifest, blobs)
            importer.stdin.close()
        except BrokenPipeError:
            pass  # its own message tells why it went
        messages = importer.stderr.read().decode(errors="replace")
    if importer.returncode != 0:
        raise ImageError(f"containerd did not take {name}: {messages.strip()}")


def _write_layout(output: IO[bytes], name: str, manifest: dict[str, Any], blobs: Path) -> None:
    text = json.dumps(manifest).encode()
    digest = hashlib.sha256(text).hexdigest()
    descriptor = {
        "mediaType": MANIFEST_TYPE,
        "digest": f"sha256:{digest}",
        "size": len(text),
        "annotations": {IMAGE_NAME: name},
    }
    with tarfile.open(fileobj=output, mode="w|") as archive:
        _add(archive, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
        _add(archive, "index.json", json.dumps({"schemaVersion": 2, "manifests": [descriptor]}).encode())
        _add(archive, f"blobs/sha256/{digest}", text)
        for blob in blobs.iterdir():
            archive.add(blob, arcname=f"blobs/sha256/{blob.name}")


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
