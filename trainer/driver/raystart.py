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
from finetune.system.threads import THREADS_ENVIRONMENT
from trainer.rank.launch import DEEPSPEED, PRELOAD_VARIABLE

logger = logging.getLogger(__name__)

LAST_LINES = 5
REASON_RAY = "RayNotStarted"
STARTS = 2
"""A busy machine may exceed Ray's own time limits once; twice is a fault."""

# Read by Ray when it is imported or started; what the user has set stays.
RAY_ENVIRONMENT = {
    "RAY_TRAIN_V2_ENABLED": "1",
    # Ray Train's own print does not honor a captured stdout, and so the disassembly that dill reads lands in the log.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # A worker that asked for no GPU must see none: Ray no longer hides them by itself.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    # It would restart the workers for a node that Ray drains: the next attempt does that, and Ray has one process fewer to start.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # Added to the niceness of this program: Ray's own 15 starves the workers beside any other work.
    "RAY_worker_niceness": "0",
    # No processes in advance, except those that `prestart_environment` asks for: they would stay idle.
    "RAY_prestart_worker_first_driver": "0",
    # Importing torch in several processes takes more than Ray's minute on a busy machine.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
}
LOOPBACK_ENVIRONMENT = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform.startswith("linux") else {}
"""For a run on this machine: other addresses may be missing, may change, or may be blocked by a proxy or firewall."""
# What the dashboard needs to show the run; costs a process for Ray Train's state.
DASHBOARD_ENVIRONMENT = {"RAY_TRAIN_ENABLE_STATE_TRACKING": "1"}
# Where nobody looks, nothing is measured.
UNSEEN_ENVIRONMENT = {
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    # Ray Train's control loop runs in the driver, which has a log of its own.
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
}
# For a Ray of our own on this machine.
LOCAL_RAY_ENVIRONMENT = {
    # On the loopback interface alone, as gloo.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    **LOOPBACK_ENVIRONMENT,
    **THREADS_ENVIRONMENT,
    # Ray refuses to work on a disk that is 95 % full, however many gigabytes the rest is.
    "RAY_local_fs_capacity_threshold": "0.999",
}


class RayNotStartedError(RunError):
    """Ray did not come up, twice; not the job's fault, so another attempt may succeed."""

    reason = REASON_RAY


def prepare_for_ray(config: TrainConfig) -> None:
    """Set the environment and the current folder of this program as Ray is to find them. Call it while no other thread reads them."""
    for name, value in environment_of(config).items():
        os.environ.setdefault(name, value)
    os.environ[PRELOAD_VARIABLE] = preloaded(config)  # ours alone, and another run of this program may need something else
    if not config.on_cluster:
        choose_address()
    leave_current_folder()


def start_ray(config: TrainConfig) -> None:
    """Join the cluster that the job runs in, or start a local one, after `prepare_for_ray`; raises RayNotStartedError."""
    if config.on_cluster:
        start_patiently(join_cluster)
        return
    context = start_patiently(lambda: start_local(config))
    if context.dashboard_url and config.progress.file is not None:
        write_atomically(Path(config.progress.file).parent / "dashboard.json", json.dumps({"url": f"http://{context.dashboard_url}"}))


def environment_of(config: TrainConfig) -> dict[str, str]:
    """Return what Ray finds in its environment, where the user has set nothing else."""
    shown = DASHBOARD_ENVIRONMENT if config.has_dashboard else UNSEEN_ENVIRONMENT
    local = {} if config.on_cluster else LOCAL_RAY_ENVIRONMENT
    return RAY_ENVIRONMENT | shown | local | (prestart_environment(config) if workers_beforehand(config) else {})


def workers_beforehand(config: TrainConfig) -> int:
    """Return how many processes a local Ray starts for the ranks before Ray Train asks for them.

    None where a rank has a GPU: libraries may look for it when they are imported, and which it is Ray says later.
    """
    return 0 if config.has_dashboard or config.workers.gpus_per_worker > 0 else config.workers.world_size


def preloaded(config: TrainConfig) -> str:
    """Return what the processes that start beforehand import, as trainer.rank.preload reads it; empty where there are none."""
    if not workers_beforehand(config):
        return ""
    return "torch" if config.workers.deepspeed is None else DEEPSPEED


def environment_of_box(config: TrainConfig) -> dict[str, str]:
    """Return the variables that keep the box out of the processes that were started for ranks."""
    return {PRELOAD_VARIABLE: ""} if workers_beforehand(config) else {}


def prestart_environment(config: TrainConfig) -> dict[str, str]:
    """Return what has processes start beforehand and import what a rank needs, with the number of threads that a rank gets later."""
    return {
        "RAY_prestart_worker_first_driver": "1",
        "RAY_num_workers_soft_limit": str(config.workers.world_size + 1),  # with the box; of more than these Ray ends the idle ones
        "RAY_preload_python_modules": "trainer.rank.preload",
        "OMP_NUM_THREADS": str(int(resources_of_a_rank(config)["CPU"])),
    }


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
    """Start a Ray on this machine, at the address that was chosen."""
    import ray

    from trainer.driver.raynode import lean_node

    with contextlib.nullcontext() if config.dashboard else lean_node(workers_beforehand(config)):
        return ray.init(
            address="local",
            num_cpus=int(config.workers.world_size * resources_of_a_rank(config)["CPU"]),
            num_gpus=config.workers.workers * config.workers.gpus_per_worker,
            include_dashboard=config.dashboard,
            dashboard_host="127.0.0.1",
            log_to_driver=True,
        )


def resources_of_a_rank(config: TrainConfig) -> dict[str, float]:
    """Return what Ray sets aside for one rank: its GPU, or a whole worker's CPUs so that no two share a worker pod."""
    if config.workers.gpus_per_worker > 0:
        return {"CPU": max(1.0, config.workers.cpus_per_worker // config.workers.gpus_per_worker), "GPU": 1.0}
    return {"CPU": max(1.0, float(int(config.workers.cpus_per_worker)))}


def choose_address() -> None:
    """Choose where a local Ray listens, for the environment of all its processes.

    Otherwise Ray Train's helpers search for a Ray, and give up where another one runs on the machine.
    """
    port = free_port()
    os.environ |= {"RAY_GCS_SERVER_PORT": str(port), "RAY_ADDRESS": f"127.0.0.1:{port}"}


def free_port() -> int:
    """Return a port that is free now on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
