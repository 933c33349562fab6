"""The script for a machine with a GPU, on a CPU: small shapes, all programs, and the tests marked gpu."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.gpu.__main__ import run_tests
from bench.gpu.measure import PROGRAMS
from bench.gpu.shapes import SMALL_SHAPES
from tests.repository import REPOSITORY

LACKING = ("aiohttp", "datasets", "evaluate", "gguf", "jiwer", "kubernetes", "ray", "trl")
"""What a machine for training has not beside its torch, and what is too large to be carried there."""


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the script and all that it starts without the packages that the machine lacks."""
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({LACKING}))\n")
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{folder}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bench.gpu", *options]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.xdist_group("ranks")
@pytest.mark.timeout(600)
@pytest.mark.slow
@pytest.mark.parametrize("shapes", [pytest.param([0, 1], id="texts"), pytest.param([2], id="conversations")])
def test_on_a_cpu_all_programs_are_measured_on_small_shapes(shapes: list[int], tmp_path: Path) -> None:
    chosen = [option for number in shapes for option in ("--shape", str(number))]
    done = run(tmp_path, "--device", "cpu", "--only", "figures", "--output", str(tmp_path / "gpu.json"), *chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert [(one["shape"], one["program"]) for one in written["measured"]] == [
        (SMALL_SHAPES[number].name, program) for number in shapes for program in PROGRAMS.values()
    ]
    assert all(one["tokensPerSecond"] > 0 and one["peakMemoryBytes"] > 0 and one["mfu"] is None for one in written["measured"])
    assert (written["leftOut"], written["card"]) == ([], None)
    assert "4 floating-point operations" in written["flopsPerToken"]


@pytest.mark.xdist_group("ranks")
@pytest.mark.timeout(600)
def test_on_a_cpu_the_tests_marked_gpu_pass(tmp_path: Path) -> None:
    done = run(tmp_path, "--device", "cpu", "--only", "tests", "--output", str(tmp_path / "gpu.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["tests"]["tests"] - written["tests"]["skipped"] >= 5
    assert written["measured"] == []


def test_a_pytest_that_dies_before_its_report_leaves_its_exit_code_and_the_figures_to_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    false = shutil.which("false")
    monkeypatch.setattr(sys, "executable", false)
    assert run_tests("cpu", 60) == {"exitCode": 1}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_machine_without_a_cuda_device_is_told_so(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 1
    assert "torch sees no CUDA device on this machine" in done.stderr
