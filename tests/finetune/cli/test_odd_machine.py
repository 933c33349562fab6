"""A whole run, without Ray and on a real one, on a machine where everything that a user may have set otherwise is set otherwise."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.finetune.cli.wholerun import environment, finetune, job_file
from tests.repository import REPOSITORY
from tests.trainer.fixtures.causal import tiny_learner
from tests.trainer.fixtures.rows import rows

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("training")]

SHADOWS = ("trainer", "controller", "random", "json", "torch", "ray", "transformers", "schedule", "progress")
WORDS = "Gr\u00fc\u00dfe \U0001f642 \u2026"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder: modules of their own beside the job, and names and rows that hold more than ASCII."""
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    tiny_learner(tmp_path / "Modell-gr\u00f6\u00dfe")
    for name, content in (("\u00dcbung.jsonl", rows(32)), ("test.jsonl", rows(2, offset=200))):
        content = [*content, {"prompt": f"{WORDS} {name}", "completion": f"\u00abja\u00bb {WORDS}"}]
        (tmp_path / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content), encoding="utf-8")
    return tmp_path


@contextlib.contextmanager
def other_rays(folder: Path) -> Iterator[None]:
    """Let two programs look as Ray's daemons do to Ray, which searches the process table for them."""
    (folder / "raylet").symlink_to(sys.executable)
    daemons = [
        subprocess.Popen([folder / "raylet", "-c", "import time; time.sleep(600)", "raylet", f"--gcs-address=127.0.0.1:{port}"])
        for port in (1, 2)
    ]
    try:
        yield
    finally:
        for daemon in daemons:
            daemon.kill()
            daemon.wait()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_is_as_good_as_on_any_other_machine(folder: Path, tmp_path_factory: pytest.TempPathFactory, workers: int) -> None:
    path = job_file(
        folder,
        "j\u00f6b.yaml",
        model={"path": "Modell-gr\u00f6\u00dfe"},
        data={"train": [{"path": "\u00dcbung.jsonl"}], "test": [{"path": "test.jsonl"}]},
        training={"maxSteps": 3, "globalBatchSize": 8, "microBatchSize": 4, "maxSequenceLength": 128},
        distributed={"workers": workers},
    )
    temporary = tmp_path_factory.mktemp("temporary") / ("a-long-name-" * 9)
    temporary.mkdir()
    mine = tmp_path_factory.mktemp("mine")
    (mine / "trainer.py").write_text("raise SystemExit('the wrong module')\n")
    odd = environment({
        "PYTHONPATH": f"{mine}:{REPOSITORY}:.:", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TMPDIR": str(temporary),
        "HOME": "/none/home", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "RAY_ADDRESS": "127.0.0.1:1",
    })  # fmt: skip
    with other_rays(folder):
        done = finetune("run", path.name, "--output", "Ausg\u00e4be", cwd=folder, env=odd)
    out = folder / "Ausg\u00e4be"
    log = (out / "trainer.log").read_text(encoding="utf-8", errors="replace") if out.is_dir() else ""
    assert done.returncode == 0, done.stdout + done.stderr + log[-4000:]
    assert "HOME=/none/home cannot be written" in done.stdout
    assert "is too long for Ray's sockets" in done.stdout
    assert any(line.startswith("finished; ") for line in done.stdout.splitlines())
    assert "wrong module" not in done.stdout + done.stderr + log
    assert "multiple active Ray" not in log
    assert "Traceback" not in log
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert any(WORDS in sample["prompt"] for sample in report["samples"])
