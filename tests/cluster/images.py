"""The images of the cluster, built on this machine from Debian packages and the project's Dockerfile.

There is no registry: the base image is made by debootstrap under the name that the Dockerfile's FROM uses. The
runtime's store persists in the cache, so that an image whose inputs did not change is not even looked at again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.binaries import binary
from tests.cluster.buildah import Buildah, ImageError
from tests.cluster.dockerfile import target_digest
from tests.cluster.packages import IMAGE_PACKAGES, ensure_packages
from tests.cluster.paths import cache_directory
from tests.cluster.runtime import PAUSE_IMAGE, ContainerRuntime
from tests.cluster.transfer import transfer
from tests.repository import REPOSITORY

BASE_IMAGE = "docker.io/library/python:3.11-slim-bookworm"
BASE_PACKAGES = ("python3", "python3-venv", "python3-pip", "python3-distutils", "ca-certificates", "netbase", "tzdata")
CONTROLLER_IMAGE = "docker.io/finetune-operator/controller:dev"
TRAINER_IMAGE = "docker.io/finetune-operator/trainer:dev"
DEBIAN_RELEASE = "bookworm"
UPDATE_PEAK_BYTES = 4 << 30
NO_SPACE = "no space left on device"


@dataclass(frozen=True)
class Image:
    """An image, what it is made of (as a digest), how to make it, and what that takes at its peak."""

    name: str
    digest: str
    build: Callable[[Buildah], None]
    peak_bytes: int


def cluster_images() -> list[Image]:
    """What every node needs: the program that holds a pod's namespaces, and the base image, also a tool box."""
    pause = hashlib.sha256(binary("pause").read_bytes()).hexdigest()
    return [Image(PAUSE_IMAGE, pause, _build_pause, 50 << 20), Image(BASE_IMAGE, _base_digest(), _build_base, 2 << 30)]


def project_images() -> list[Image]:
    """The controller's and the trainer's image, from the project's Dockerfile."""
    return [
        _project_image("controller", CONTROLLER_IMAGE, 4 << 30),
        # Four copies of 7 GB exist at the peak: buildah's layers, what is sent, and containerd's content and snapshot.
        _project_image("trainer", TRAINER_IMAGE, 28 << 30),
    ]


def _project_image(target: str, name: str, peak_bytes: int) -> Image:
    return Image(name, _project_digest(target), lambda buildah: _build_target(buildah, target, name), peak_bytes)


def load_images(runtime: ContainerRuntime, images: Iterable[Image]) -> None:
    """Build and import every image that containerd does not hold in this very form."""
    present, record = runtime.images(), _read_record()
    for image in images:
        if image.name in present and record.get(image.name) == image.digest:
            continue
        ensure_packages(IMAGE_PACKAGES)
        # Where the image is known, most layers are too.
        _check_disk(image.name, UPDATE_PEAK_BYTES if image.name in present else image.peak_bytes)
        started = time.monotonic()
        print(f"building image {image.name}", file=sys.stderr, flush=True)
        with Buildah() as buildah:
            try:
                built = _make(image, buildah, runtime)
            except (ImageError, OSError, RuntimeError) as error:
                if NO_SPACE not in str(error).lower() or image.name not in present:
                    raise
                # Other packages make other layers, beside which the earlier ones are still there: without those there may be room.
                print(f"the disk is full; removing the earlier {image.name}, and building again", file=sys.stderr, flush=True)
                buildah.forget(image.name)
                runtime.forget(image.name)
                _check_disk(image.name, image.peak_bytes)
                built = _make(image, buildah, runtime)
        _write_record({**_read_record(), image.name: image.digest})
        print(
            f"built {image.name} in {built - started:.0f} s, loaded in {time.monotonic() - built:.0f} s",
            file=sys.stderr,
            flush=True,
        )


def _make(image: Image, buildah: Buildah, runtime: ContainerRuntime) -> float:
    """Build an image and hand it to containerd; return when it was built, on the monotonic clock."""
    image.build(buildah)
    built = time.monotonic()
    transfer(buildah, runtime, image.name)
    return built


def _build_pause(buildah: Buildah) -> None:
    with buildah.container("scratch") as container:
        buildah.run("copy", "--quiet", container, str(binary("pause")), "/pause")
        buildah.run("config", "--entrypoint", '["/pause"]', container)
        buildah.run("commit", "--quiet", container, PAUSE_IMAGE)


def _build_base(buildah: Buildah) -> None:
    """As close to the official Python image as the Dockerfile can tell: `python` and `pip` work and may install."""
    with tempfile.TemporaryDirectory(dir=cache_directory()) as folder:
        root = Path(folder) / "root"
        command = [
            "debootstrap",
            "--variant=minbase",
            f"--include={','.join(BASE_PACKAGES)}",
            DEBIAN_RELEASE,
            str(root),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise ImageError(f"debootstrap failed; its messages end:\n{done.stdout[-1500:]}")
        for link, target in {
            "python": "python3",
            "pip": "pip3",
            "python3.11": "python3.11",
            "python3": "python3",
        }.items():
            (root / "usr/local/bin" / link).symlink_to(f"/usr/bin/{target}")
        for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            marker.unlink()
        for waste in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(root / waste, ignore_errors=True)
            (root / waste / "partial").mkdir(parents=True)
        with buildah.container("scratch") as container:
            buildah.run("add", "--quiet", container, str(root), "/")
            path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            buildah.run("config", "--env", f"PATH={path}", "--env", "LANG=C.UTF-8", "--cmd", '["python3"]', container)
            buildah.run("commit", "--quiet", container, BASE_IMAGE)


def _build_target(buildah: Buildah, target: str, name: str) -> None:
    if not buildah.has(BASE_IMAGE):
        _build_base(buildah)
    buildah.build(REPOSITORY, target, name)


def _base_digest() -> str:
    return hashlib.sha256(f"{BASE_PACKAGES} {DEBIAN_RELEASE} 1".encode()).hexdigest()


def _project_digest(target: str) -> str:
    """Changes with what the Dockerfile does and copies for this target, and with the base image."""
    dockerfile = REPOSITORY / "Dockerfile"
    if not dockerfile.exists():
        raise ImageError(f"{dockerfile} is missing: the project's images cannot be built")
    return f"{_base_digest()} {target_digest(REPOSITORY, target)}"


def _check_disk(name: str, peak_bytes: int) -> None:
    free = shutil.disk_usage(cache_directory()).free
    if free < peak_bytes:
        need, have = (f"{size / 2**30:.0f} GiB" for size in (peak_bytes, free))
        raise ImageError(
            f"{name} needs {need} of free disk at its peak, {cache_directory()} has {have}: "
            "free some, or let FINETUNE_CACHE name a larger disk"
        )


def _record_path() -> Path:
    return cache_directory() / "images.json"


def _read_record() -> dict[str, str]:
    return dict(json.loads(_record_path().read_text())) if _record_path().exists() else {}


def _write_record(record: dict[str, str]) -> None:
    partial = _record_path().with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(record, indent=1))
    partial.rename(_record_path())
