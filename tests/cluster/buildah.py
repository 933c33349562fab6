"""buildah with a store of its own in the cache, so that layers are reused and the machine's own store is left alone."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

from tests.cluster.mounts import unmount_below
from tests.cluster.paths import cache_directory

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# Where packages come from is the machine's affair: these reach a build from the environment and are in no file.
PASSED_ARGUMENTS = (
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_EXTRA_INDEX_URL",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
TRUST_ARGUMENTS = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")


class ImageError(RuntimeError):
    """An image could not be made; the message tells which step failed and how it ended."""


class Buildah:
    """Use as a context: the store's own mount goes when it is left."""

    def __init__(self) -> None:
        self.store = cache_directory() / "buildah"

    def __enter__(self) -> Buildah:
        (self.store / "tmp").mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        unmount_below(self.store)

    def run(self, *arguments: str) -> str:
        """Run one buildah command; its failure carries the end of its messages."""
        done = subprocess.run(self._command(*arguments), capture_output=True, text=True, env=self._environment(), check=False)
        if done.returncode != 0:
            messages = (done.stdout + done.stderr)[-3000:]
            raise ImageError(f"`buildah {' '.join(arguments[:2])} …` failed; its messages end:\n{messages}")
        return done.stdout.strip()

    @contextlib.contextmanager
    def archive(self, image: str) -> Iterator[IO[bytes]]:
        """An image as a stream in docker's archive format, its layers uncompressed."""
        command = self._command("push", "--quiet", image, f"docker-archive:/dev/stdout:{image}")
        with (
            tempfile.TemporaryFile() as messages,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages, env=self._environment()) as pusher,
        ):
            assert pusher.stdout is not None
            try:
                yield pusher.stdout
                while pusher.stdout.read(1 << 20):
                    pass  # the archive's padding: a closed pipe would end buildah with an error
            finally:
                pusher.stdout.close()
            if pusher.wait() != 0:
                messages.seek(0)
                raise ImageError(f"buildah could not hand out {image}: {messages.read().decode(errors='replace')}")

    def has(self, image: str) -> bool:
        try:
            self.run("inspect", "--type", "image", image)
        except ImageError:
            return False
        return True

    def forget(self, image: str) -> None:
        """Remove an image and the layers that only it has."""
        if self.has(image):
            self.run("rmi", "--force", image)
        self.run("rmi", "--prune", "--force")

    @contextlib.contextmanager
    def container(self, source: str) -> Iterator[str]:
        """A working container from `source`, removed afterwards."""
        container = self.run("from", "--pull-never", source)
        try:
            yield container
        finally:
            self.run("rm", container)

    def build(self, context: Path, target: str, name: str) -> None:
        """Build a Dockerfile's target; steps that did not change come from the store."""
        arguments = {key: os.environ[key] for key in PASSED_ARGUMENTS if key in os.environ}
        trust: list[str] = []
        if CERTIFICATES.exists():
            arguments |= dict.fromkeys(TRUST_ARGUMENTS, str(CERTIFICATES))
            trust = ["--volume", f"{CERTIFICATES.parent}:{CERTIFICATES.parent}:ro"]
        passed = [part for key, value in arguments.items() for part in ("--build-arg", f"{key}={value}")]
        options = [
            "--layers",
            "--pull-never",
            "--isolation",
            "chroot",
            "--network",
            "host",
            "--format",
            "docker",
            *trust,
            *passed,
        ]
        try:
            self.run("bud", *options, "--target", target, "--tag", name, "--file", str(context / "Dockerfile"), str(context))
        finally:
            # Each new build leaves the layers of the last one behind, gigabytes at a time, and one that failed its container.
            self.run("rm", "--all")
            self.run("rmi", "--prune", "--force")

    def _command(self, *arguments: str) -> list[str]:
        places = ["--root", str(self.store / "storage"), "--runroot", str(self.store / "run")]
        return ["buildah", *places, "--storage-driver", "overlay", *arguments]

    def _environment(self) -> dict[str, str]:
        # It keeps whole layers in its temporary directory: they belong on the disk that was checked.
        return {**os.environ, "TMPDIR": str(self.store / "tmp")}
