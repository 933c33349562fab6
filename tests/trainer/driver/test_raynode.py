"""A local Ray has the processes that a run needs, and no others."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.repository import REPOSITORY
from trainer.driver.raynode import IDLE_AGENT, changed

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("training")]

PROGRAM = """
import sys
from pathlib import Path

import psutil

from tests.builders import train_config
from trainer.driver.raystart import prepare_for_ray, start_ray

config = train_config(Path(sys.argv[1]))
prepare_for_ray(config)
start_ray(config)
import ray

@ray.remote(num_cpus=0)
def speak():
    print("a word of a worker", flush=True)

ray.get(speak.remote())
for process in psutil.Process().children(recursive=True):
    print("runs", *process.cmdline(), flush=True)
sys.stdin.read()
ray.shutdown()
"""
SERVING_A_DASHBOARD = ("dashboard/dashboard.py", "dashboard/agent.py", "autoscaler/", "forkserver")


def test_a_local_ray_serves_no_dashboard_and_forwards_what_its_workers_print(tmp_path: Path, ray_folder: Path) -> None:
    environment, log = os.environ | {"PYTHONPATH": str(REPOSITORY), "RAY_TMPDIR": str(ray_folder)}, tmp_path / "log"
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    with log.open("w") as errors, subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
    ) as process:  # fmt: skip
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if "a word of a worker" in line:
                process.stdin.close()
    assert process.returncode == 0, log.read_text()
    assert any("a word of a worker" in line for line in lines), "what a worker prints reaches the driver"
    running = " ".join(line for line in lines if line.startswith("runs "))
    assert [name for name in ("gcs_server", "raylet", "log_monitor.py", "idleagent.py") if name not in running] == []
    assert [name for name in SERVING_A_DASHBOARD if name in running] == []
    assert not (tmp_path / "out" / ".finetune" / "dashboard.json").exists()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param("--runtime_env_agent_command=python main.py", "--runtime_env_agent_command=python main.py", id="another agent"),
        pytest.param("--dashboard_agent_command=python agent.py", f"--dashboard_agent_command={' '.join(IDLE_AGENT)}", id="the agent"),
        pytest.param("--num_prestart_python_workers=16", "--num_prestart_python_workers=3", id="workers to start beforehand"),
        pytest.param("--maximum_startup_concurrency=2", "--maximum_startup_concurrency=3", id="fewer at once than beforehand"),
        pytest.param("--maximum_startup_concurrency=8", "--maximum_startup_concurrency=8", id="more at once than beforehand"),
    ],
)
def test_of_a_raylets_arguments_those_for_its_agent_and_its_first_workers_are_replaced(given: str, expected: str) -> None:
    assert changed(given, 3) == expected


def test_the_idle_agent_ends_with_its_raylet() -> None:
    parent = (
        "import os, subprocess\n"
        "environment = os.environ | {'RAY_RAYLET_PID': str(os.getpid())}\n"
        f"print(subprocess.Popen({IDLE_AGENT!r}, env=environment, stdout=subprocess.DEVNULL).pid, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        agent = psutil.Process(int(process.stdout.readline()))
        process.kill()
    _, left = psutil.wait_procs([agent], timeout=30)
    assert not left
