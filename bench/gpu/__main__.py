"""`python -m bench.gpu`: the tests marked gpu, then the figures; ends within 8 minutes. Started by `make gpu`.

Writes bench/results/gpu.json with the card's name. `--device cpu` shows on small shapes that the script works, and writes to
runs/gpu/gpu.json. Tests: tests/bench/gpu/test_main.py, tests/bench/gpu/test_measure.py.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bench.gpu.measure import Budget, Results, measure
from bench.gpu.shapes import SHAPES, SMALL_SHAPES
from bench.scenarios import ROOT
from bench.surroundings import machine

SECONDS = 7.5 * 60
"""Half a minute is left for what cannot be interrupted, such as writing a model's weights."""
TEST_SECONDS = 150.0
"""Of which the tests may take so many."""
RESULTS = ROOT / "bench" / "results" / "gpu.json"
FLOPS = "4 floating-point operations for each parameter and token with LoRA, 6 where all weights are trained; attention is left out"


def run_tests(device: str, seconds: float) -> dict[str, Any]:
    """Run the tests marked gpu and return their counts, or only the exit code of a pytest that died before it wrote its report.

    Without the conftest and the plugins of the whole suite, which need packages that a machine for training lacks.
    """
    with tempfile.TemporaryDirectory(prefix="finetune-gpu-") as folder:
        report = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-c", "bench/gpu/pytest.ini", "--rootdir", str(ROOT), "--noconftest",
                   "-p", "no:cacheprovider", "-m", "gpu", f"--junit-xml={report}", "tests/gpu"]  # fmt: skip
        environment = os.environ | {"FINETUNE_TEST_DEVICE": device, "HF_HUB_OFFLINE": "1", "TMPDIR": folder}
        try:
            code = subprocess.run(command, cwd=ROOT, env=environment, timeout=seconds, check=False).returncode
        except subprocess.TimeoutExpired:
            return {"exitCode": None, "seconds": seconds}
        if not report.is_file():
            return {"exitCode": code}
        suite = next(ElementTree.parse(report).getroot().iter("testsuite"))  # noqa: S314 - pytest wrote it just now
        return {"exitCode": code} | {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}


def document(device: torch.device, tests: dict[str, Any] | None, results: Results) -> dict[str, Any]:
    """Return what is written."""
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "card": card,
        **machine(ROOT),
        "tests": tests,
        "flopsPerToken": FLOPS,
        "measured": [figures.to_wire() for figures in results.figures],
        "leftOut": results.left_out,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Test, measure, write; 1 when a test or a program failed, or when there is no CUDA device."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: small shapes, to see that the script works")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"time for all of it (default {SECONDS:.0f})")
    parser.add_argument("--only", choices=["tests", "figures"], help="a part of it")
    parser.add_argument("--shape", type=int, action="append", metavar="N", help="only the Nth shape, counted from 0; repeatable")
    parser.add_argument("--output", type=Path, help=f"file of the figures (default {RESULTS.relative_to(ROOT)}, on a CPU below runs/)")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("make gpu: torch sees no CUDA device on this machine; --device cpu runs small shapes on the CPU", file=sys.stderr)
        return 1
    budget, device = Budget(options.seconds), torch.device(options.device)
    limit = TEST_SECONDS if device.type == "cuda" else options.seconds
    tests = None if options.only == "figures" else run_tests(options.device, min(limit, budget.left))
    every = SHAPES if device.type == "cuda" else SMALL_SHAPES
    shapes = [] if options.only == "tests" else [every[number] for number in options.shape or range(len(every))]
    with tempfile.TemporaryDirectory(prefix="finetune-gpu-") as folder:
        results = measure(shapes, Path(folder), device, budget, lambda line: print(line, flush=True))
    output = options.output or (RESULTS if device.type == "cuda" else ROOT / "runs" / "gpu" / "gpu.json")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document(device, tests, results), indent=1) + "\n")
    print(f"written to {output}; not measured: {'; '.join(results.left_out) or 'nothing'}")
    return 1 if results.failed or (tests is not None and tests["exitCode"] != 0) else 0


if __name__ == "__main__":
    sys.exit(main())
