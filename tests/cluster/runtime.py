"""containerd of our own: its images persist in the cache, all else lies in the cluster's directory and goes with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.paths import cache_directory
from tests.cluster.processes import ProcessTable

PAUSE_IMAGE = "finetune.dev/pause:1"
CNI_PROGRAMS = Path("/usr/lib/cni")
KUBERNETES_NAMESPACE = "k8s.io"
REPLACED = "-replaced"

CONFIGURATION = """\
version = 2
root = "{root}"
state = "{state}"

[grpc]
address = "{socket}"

[plugins."io.containerd.internal.v1.opt"]
path = "{directory}/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
# Where root lacks CAP_SYS_RESOURCE, every sandbox otherwise fails with «can't get final child's PID from pipe: EOF».
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni_programs}"
conf_dir = "{cni_configuration}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""


@dataclass(frozen=True)
class ContainerRuntime:
    """The containerd of one cluster's directory."""

    directory: Path

    @property
    def socket(self) -> Path:
        return self.directory / "containerd.sock"

    @property
    def state(self) -> Path:
        return self.directory / "containerd-state"

    @property
    def root(self) -> Path:
        """Images persist here, for the next cluster."""
        return cache_directory() / "containerd"

    @property
    def cni_configuration(self) -> Path:
        return self.directory / "cni"

    def start(self, processes: ProcessTable) -> None:
        """Start containerd and remove what a crashed cluster left in its database."""
        values = {
            "root": self.root,
            "state": self.state,
            "socket": self.socket,
            "directory": self.directory,
            "pause": PAUSE_IMAGE,
            "cni_programs": CNI_PROGRAMS,
            "cni_configuration": self.cni_configuration,
        }
        configuration = self.directory / "containerd.toml"
        configuration.write_text(CONFIGURATION.format(**values))
        processes.start("containerd", ["containerd", "--config", str(configuration)])
        processes.wait_until("containerd", lambda: self._answers("version"), "it answered")
        self.remove_containers()
        self._collect_garbage()

    @property
    def content(self) -> Path:
        """The folder in which containerd keeps every blob under its SHA-256."""
        return self.root / "io.containerd.content.v1.content" / "blobs" / "sha256"

    def images(self) -> list[str]:
        return self.ctr("images", "list", "--quiet").split()

    def ctr(self, *arguments: str) -> str:
        """Run one command of containerd's client; its failure is an error."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"`ctr {' '.join(arguments)}` failed: {done.stderr.strip()}")
        return done.stdout

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[None]:
        """Keep the layers of the image that `name` stands for until its successor, which shares them, is complete.

        The moment a name moves on, garbage collection may take the old image's layers from under the new one.
        """
        if name in self.images():
            self.ctr("images", "tag", "--force", name, f"{name}{REPLACED}")
        yield
        self._forget_replaced_images()

    def forget(self, name: str) -> None:
        """Remove an image with the layers that only it has; its name in the record of images.py no longer counts."""
        if name in self.images():
            self.ctr("images", "remove", "--sync", name)
            self._forget_replaced_images()

    def _collect_garbage(self) -> None:
        """Remove layers that an earlier containerd had given up but was ended before it deleted them: gigabytes.

        It looks for them only after a layer of its own went, and waits for the end only when an image goes.
        """
        self._answers("snapshots", "prepare", f"sweep{REPLACED}", "")
        self._answers("snapshots", "remove", f"sweep{REPLACED}")
        if PAUSE_IMAGE in self.images():
            self._answers("images", "tag", "--force", PAUSE_IMAGE, f"{PAUSE_IMAGE}{REPLACED}")
            self._answers("images", "remove", "--sync", f"{PAUSE_IMAGE}{REPLACED}")

    def _forget_replaced_images(self) -> None:
        """Drop the old images, and the aliases by digest with which containerd would keep them forever."""
        digests = {name: digest for name, _, digest, *_ in map(str.split, self.ctr("images", "list").splitlines()[1:])}
        kept = {digest for name, digest in digests.items() if not name.startswith("sha256:") and REPLACED not in name}
        for name, digest in digests.items():
            if digest not in kept or REPLACED in name:
                self.ctr("images", "remove", "--sync", name)

    def remove_containers(self) -> None:
        """Kill every task and forget every container, without asking the kubelet."""
        for task in self._list("tasks"):
            self._answers("tasks", "delete", "--force", task)
        for container in self._list("containers"):
            self._answers("containers", "delete", container)

    def kill_shims(self) -> None:
        """End what outlived containerd: the shims of our state directory and the first process of each container."""
        for bundle in (self.state / "io.containerd.runtime.v2.task" / KUBERNETES_NAMESPACE).glob("*"):
            for pid in self._shims_and_pods(bundle):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                Path((bundle / "address").read_text().strip().removeprefix("unix://")).unlink()

    def _shims_and_pods(self, bundle: Path) -> Iterator[int]:
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                arguments = (process / "cmdline").read_bytes().split(b"\0")
                shim = {os.fsencode(self.socket), os.fsencode(bundle.name)} <= set(arguments)
                if shim or bundle.name in (process / "cgroup").read_text():
                    yield int(process.name)

    def _list(self, kind: str) -> list[str]:
        done = subprocess.run(self.command(kind, "list", "--quiet"), capture_output=True, text=True, check=False)
        return done.stdout.split()

    def _answers(self, *arguments: str) -> bool:
        return subprocess.run(self.command(*arguments), capture_output=True, check=False).returncode == 0

    def command(self, *arguments: str) -> list[str]:
        """The command line of containerd's own client on our socket and namespace."""
        return ["ctr", "--address", str(self.socket), "--namespace", KUBERNETES_NAMESPACE, *arguments]
