"""Joins the Ray cluster of the job, or starts one on this machine that nothing else on it can disturb.

Touches Ray. Tests: tests/trainer/driver/test_raystart.py, tests/finetune/cli/test_odd_machine.py (real Ray).
"""

import atexit
import contextlib
import json
import logging
import os
import site
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from finetune.api.errors import RunError
from finetune.api.trainconfig import TrainConfig
from finetune.system.files import write_atomically
from finetune.system.interpreter import ROOT, lasting_python_path
from finetune.system.scratch import hold, remove_all

logger = logging.getLogger(__name__)

LAST_LINES = 5
REASON_RAY = "RayNotStarted"
STARTS = 2
"""A busy machine may exceed Ray's own time limits once; twice is a fault."""

# Read by Ray when it is imported or started; what the user has set stays.
RAY_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
    "RAY_TRAIN_V2_ENABLED": "1",
    # Ray Train's own print does not honor a captured stdout, and so the disassembly that dill reads lands in the log.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # A worker that asked for no GPU must see none: Ray no longer hides them by itself.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    # It would restart the workers for a node that Ray drains: the next attempt does that, and Ray has one process fewer to start.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # Added to the niceness of this program: Ray's own 15 starves the workers beside any other work.
    "RAY_worker_niceness": "0",
    # Importing torch in several processes takes more than Ray's minute on a busy machine.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
}
LOOPBACK_ENVIRONMENT = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform.startswith("linux") else {}
"""For a run on this machine: other addresses may be missing, may change, or may be blocked by a proxy or firewall."""
# For a Ray of our own on this machine.
LOCAL_RAY_ENVIRONMENT = {
    # On the loopback interface alone, as gloo.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    **LOOPBACK_ENVIRONMENT,
    # Ray refuses to work on a disk that is 95 % full, however many gigabytes the rest is.
    "RAY_local_fs_capacity_threshold": "0.999",
}


class RayNotStartedError(RunError):
    """Ray did not come up, twice; not the job's fault, so another attempt may succeed."""

    reason = REASON_RAY


def start_ray(config: TrainConfig) -> None:
    """Join the cluster that the job runs in, or start a local one with its dashboard; raises RayNotStartedError."""
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    leave_current_folder()
    if config.progress.config_map is not None:
        start_patiently(join_cluster)
        return
    for name, value in LOCAL_RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    context = start_patiently(lambda: start_local(config))
    if context.dashboard_url and config.progress.file is not None:
        write_atomically(Path(config.progress.file).parent / "dashboard.json", json.dumps({"url": f"http://{context.dashboard_url}"}))


def leave_current_folder() -> None:
    """Go to an empty folder: Ray lets its workers import what lies where the driver is, before all else."""
    ours = [] if str(ROOT) in site.getsitepackages() else [str(ROOT)]
    os.environ["PYTHONPATH"] = os.pathsep.join([*(entry for entry in lasting_python_path(os.environ) if entry not in ours), *ours])
    if not _is_empty(Path()):
        folder = Path(tempfile.mkdtemp(prefix="ft-"))
        hold(folder)
        atexit.register(remove_all)
        os.chdir(folder)


def _is_empty(folder: Path) -> bool:
    try:
        return not any(folder.iterdir())
    except OSError:  # it was removed, or may not be read
        return False


def start_patiently(start: Any) -> Any:
    """Return what `start` returns, which is tried once more when it fails."""
    import ray

    for number in range(1, STARTS + 1):
        try:
            return start()
        except Exception as error:  # Ray has no common class for what may go wrong here
            ray.shutdown()
            logger.warning("the ends of Ray's logs:\n%s", last_words(ray_folder()))
            if number == STARTS:
                words = str(error).strip() or type(error).__name__
                raise RayNotStartedError(
                    f"Ray did not start in {STARTS} tries, the last one ended with: {words}; when the machine is busy, try again later"
                ) from error
            logger.warning("Ray did not start (%s: %s); trying once more", type(error).__name__, error)
    raise AssertionError("unreachable")


def ray_folder() -> Path:
    """Return the folder that Ray keeps its sessions in."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray"  # noqa: S108  (Ray's own rule)


def last_words(folder: Path) -> str:
    """Return the last lines of the logs of Ray's daemons: they are in its temporary folder, which is removed after the run."""
    lines: list[str] = []
    with contextlib.suppress(OSError):
        for file in sorted(folder.glob("session_latest/logs/*")):
            if file.suffix in (".err", ".out", ".log"):
                # Daemons that are dying remove or rename what they write.
                with contextlib.suppress(OSError):
                    end = file.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
                    lines += [f"{file.name}: {line}" for line in end]
    return "\n".join(lines) or "none"


def join_cluster() -> Any:
    """Connect to the cluster of this pod."""
    import ray

    return ray.init(address="auto", log_to_driver=True)


def start_local(config: TrainConfig) -> Any:
    """Start a Ray with its dashboard on this machine.

    Its address is chosen here and is in the environment of all its processes: otherwise Ray Train's helpers search for a Ray,
    and give up where another one runs on the machine.
    """
    import ray

    port = free_port()
    os.environ |= {"RAY_GCS_SERVER_PORT": str(port), "RAY_ADDRESS": f"127.0.0.1:{port}"}
    needed = config.workers.world_size * resources_of_a_rank(config)["CPU"]
    return ray.init(
        address="local",
        num_cpus=int(max(needed, os.cpu_count() or 1)),
        num_gpus=config.workers.workers * config.workers.gpus_per_worker,
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        log_to_driver=True,
    )


def resources_of_a_rank(config: TrainConfig) -> dict[str, float]:
    """Return what Ray sets aside for one rank: its GPU, or a whole worker's CPUs so that no two share a worker pod."""
    if config.workers.gpus_per_worker > 0:
        return {"CPU": max(1.0, config.workers.cpus_per_worker // config.workers.gpus_per_worker), "GPU": 1.0}
    return {"CPU": max(1.0, float(int(config.workers.cpus_per_worker)))}


def free_port() -> int:
    """Return a port that is free now on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
