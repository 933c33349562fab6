"""An input that is refused while Ray and its workers come up beside the checks: they go with the program, and nobody hears of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from finetune.api.record import EXIT_INPUT
from tests.builders import wire_config
from tests.repository import REPOSITORY

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("training")]

PROGRAM = """
import contextlib
import sys
import time

import psutil

import trainer.driver.onerun
from finetune.api.errors import InputError
from trainer.__main__ import main


def name(process):
    with contextlib.suppress(psutil.Error):
        return "".join(process.cmdline()[:1])
    return ""


def refuse(*_, **__):
    awaited = sys.argv[2]
    while not any(awaited in " ".join(process.cmdline()) for process in psutil.Process().children(recursive=True)):
        time.sleep(0.05)
    children = psutil.Process().children(recursive=True)
    print(*(process.pid for process in children), flush=True)
    print(*{name(process).split(".")[0] for process in children if name(process).startswith("ray::")}, flush=True)
    raise InputError("data.train[0]", "row 7 has no prompt", "write one")


trainer.driver.onerun.check_inputs = refuse
sys.exit(main(["--config", sys.argv[1]]))
"""


ACTORS = {"ray::ProgressBox", "ray::RayTrainWorker", "ray::RuntimeEnvAgent", "ray::IDLE"}


@pytest.mark.parametrize("awaited", ["gcs_server", "ray::RayTrainWorker"], ids=["Ray comes up", "the workers wait"])
def test_nothing_is_left_of_ray_when_the_input_is_refused(tmp_path: Path, ray_folder: Path, awaited: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(wire_config(tmp_path, workers={"workers": 2})))
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "RAY_TMPDIR": str(ray_folder)}
    command = [sys.executable, "-c", PROGRAM, str(path), awaited]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == EXIT_INPUT, done.stderr
    pids, actors, *others = done.stdout.splitlines()
    assert {*actors.split()} <= ACTORS, "each is a process, and imports all of Ray Train"
    assert [line for line in others if "pid=" not in line] == [], "only what Ray forwards from processes, and finetune puts into the log"
    _, left = psutil.wait_procs([process for process in psutil.process_iter() if str(process.pid) in pids.split()], timeout=30)
    assert not left
    out = tmp_path / "out"
    assert [file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()] == [".finetune/progress.json"]
    outcome = json.loads((out / ".finetune" / "progress.json").read_text())["outcome"]
    assert (outcome["result"], "row 7 has no prompt" in outcome["message"]) == ("InputInvalid", True)
