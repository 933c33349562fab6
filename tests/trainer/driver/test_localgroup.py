"""The ranks of a local run are the processes that were started beforehand, and Ray Train adds none of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import REPOSITORY

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("training")]

PROGRAM = """
import os
import sys
import threading
import time
from pathlib import Path

import psutil

from tests.builders import train_config
from trainer.driver.raystart import prepare_for_ray, start_ray

config = train_config(Path(sys.argv[1]), workers={"workers": 2, "cpusPerWorker": 1})
prepare_for_ray(config)
start_ray(config)

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig

from trainer.driver.localgroup import LocalTrainer
from trainer.driver.raystart import ray_folder
from trainer.driver.ranksgroup import ProcessGroupConfig


def ray_processes():
    found = (("".join(process.cmdline()[:1]), process.pid) for process in psutil.Process().children(recursive=True))
    return [(name.split(".")[0], pid) for name, pid in found if name.startswith("ray::")]


def wait_until(true):
    deadline = time.monotonic() + 120
    while not true():
        if time.monotonic() > deadline:
            sys.exit("waited too long")
        time.sleep(0.05)


wait_until(lambda: len(ray._private.state.workers()) >= 2)  # Ray lists those that are ready to be used
waiting = [pid for name, pid in ray_processes() if name == "ray::IDLE"]
print("waiting", *waiting, flush=True)


def rank(settings):
    import ray.train
    import torch

    number = ray.train.get_context().get_world_rank()
    ready = "trainer.rank.run" in sys.modules
    Path(settings["folder"], f"rank-{number}").write_text(f"{os.getpid()} {ready} {os.environ['RANK']} {torch.get_num_threads()}")
    wait_until(Path(settings["folder"], "seen").exists)
    if number == 1:
        raise ValueError("rank 1 has no luck")


def look():
    wait_until(lambda: len(list(Path(sys.argv[1]).glob("rank-*"))) == 2)
    print("run", *(name for name, _ in ray_processes()), flush=True)
    Path(sys.argv[1], "seen").touch()


threading.Thread(target=look, daemon=True).start()
try:
    LocalTrainer(
        rank,
        train_loop_config={"folder": sys.argv[1]},
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1.0}),
        run_config=RunConfig(storage_path=str(ray_folder() / "train"), failure_config=FailureConfig(max_failures=0)),
        backend_config=ProcessGroupConfig("gloo"),
    ).fit()
except Exception as error:
    print("raised", type(error).__name__, "rank 1 has no luck" in str(error), flush=True)
"""


def test_two_ranks_run_in_the_processes_that_waited_for_them_and_their_error_reaches_the_driver(tmp_path: Path, ray_folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "RAY_TMPDIR": str(ray_folder)}
    environment = {name: value for name, value in environment.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    said = [line.split() for line in done.stdout.splitlines() if line.startswith(("waiting ", "run ", "raised "))]
    lines = {kind: rest for kind, *rest in said}
    assert lines.keys() == {"waiting", "run", "raised"}, done.stdout + done.stderr
    assert len(lines["waiting"]) == 2, "one for each rank"
    ranks = [(tmp_path / f"rank-{number}").read_text().split() for number in range(2)]
    assert sorted(pid for pid, *_ in ranks) == sorted(lines["waiting"])
    assert [rest for _, *rest in ranks] == [["True", "0", "1"], ["True", "1", "1"]], "imported, a member of the group, its threads"
    assert {*lines["run"]} == {"ray::RayTrainWorker", "ray::RuntimeEnvAgent"}
    assert lines["raised"] == ["WorkerGroupError", "True"]
