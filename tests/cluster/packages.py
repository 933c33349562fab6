"""What the node tier needs from Debian, installed when it is missing and may be."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

# The program that shows that a package is there, and the package.
NODE_PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ethtool": "ethtool",
    "socat": "socat",
    "ip": "iproute2",
    "mount": "mount",
}
IMAGE_PACKAGES = {"buildah": "buildah", "debootstrap": "debootstrap"}
SCREENSHOT_PACKAGES = {"chromium": "chromium"}


class NodeTierUnavailableError(RuntimeError):
    """The node tier cannot run here; the message names what is missing and what would help."""


def ensure_packages(wanted: dict[str, str]) -> None:
    """Install the packages whose program is missing; only root can, and only where apt-get is."""
    missing = sorted(package for program, package in wanted.items() if not _present(program))
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NodeTierUnavailableError(f"these packages are missing and cannot be installed without root and apt-get: {', '.join(missing)}")
    print(f"installing with apt-get: {', '.join(missing)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    for command in (["apt-get", "update", "-qq"], install):
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise NodeTierUnavailableError(f"`{' '.join(install)}` failed:\n{done.stderr}")


def require_root() -> None:
    if os.geteuid() != 0:
        raise NodeTierUnavailableError(
            "the node tier makes mounts, a bridge and iptables rules: it needs root; without, `make test` and "
            "`python -m tests.cluster up --tier control-plane` run all that needs no pods"
        )


def _present(program: str) -> bool:
    return Path(program).exists() if program.startswith("/") else shutil.which(program) is not None
