"""Moves an image from buildah's store into containerd's, sending only the layers that containerd does not hold.

A trainer image is 7 GB, nearly all of it libraries: after a change of the project's own code only the last layer
differs, and sending the whole archive would cost minutes each time.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import IO, Any

from tests.cluster.buildah import Buildah, ImageError
from tests.cluster.paths import cache_directory
from tests.cluster.runtime import ContainerRuntime

IMAGE_NAME = "io.containerd.image.name"


def transfer(buildah: Buildah, runtime: ContainerRuntime, name: str) -> None:
    """Make an image of buildah's store an image of containerd, unpacked and ready to run."""
    with tempfile.TemporaryDirectory(dir=cache_directory()) as folder:
        layout = Path(folder)
        blobs = layout / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        held = _link_held_blobs(runtime.content, blobs)
        # Compressing 7 GB to read it again on the same disk takes far longer than writing it.
        buildah.run("push", "--quiet", "--disable-compression", name, f"oci:{layout}:{name}")
        with subprocess.Popen(
            runtime.command("images", "import", "-"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as importer:
            assert importer.stdin is not None
            assert importer.stderr is not None
            try:
                _write_archive(layout, name, held, importer.stdin)
                importer.stdin.close()
            except BrokenPipeError:
                pass  # its own message tells why it went
            messages = importer.stderr.read().decode(errors="replace")
        if importer.returncode != 0:
            raise ImageError(f"containerd did not take {name}: {messages.strip()}")


def _link_held_blobs(content: Path, blobs: Path) -> set[str]:
    """Show buildah what containerd holds, so that it writes only what is new; no byte is copied."""
    held = set()
    for blob in content.glob("*"):
        os.link(blob, blobs / blob.name)
        held.add(blob.name)
    return held


def _write_archive(layout: Path, name: str, held: set[str], output: IO[bytes]) -> None:
    index = json.loads((layout / "index.json").read_text())
    (descriptor,) = index["manifests"]
    descriptor["annotations"] = {IMAGE_NAME: name}
    manifest = json.loads(_blob(layout, descriptor).read_text())
    with tarfile.open(fileobj=output, mode="w|") as archive:
        _add_text(archive, "oci-layout", {"imageLayoutVersion": "1.0.0"})
        _add_text(archive, "index.json", index)
        for entry in (descriptor, manifest["config"], *manifest["layers"]):
            path = _blob(layout, entry)
            if path.name not in held:
                archive.add(path, arcname=str(path.relative_to(layout)))


def _blob(layout: Path, descriptor: dict[str, Any]) -> Path:
    return layout / "blobs" / "sha256" / str(descriptor["digest"]).removeprefix("sha256:")


def _add_text(archive: tarfile.TarFile, name: str, content: object) -> None:
    text = json.dumps(content).encode()
    entry = tarfile.TarInfo(name)
    entry.size = len(text)
    archive.addfile(entry, io.BytesIO(text))
