"""What a program has imported at a point: what is imported too early costs every start seconds and hundreds of megabytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import wire_config
from tests.repository import REPOSITORY
from tests.trainer.fixtures.causal import tiny_learner
from tests.trainer.fixtures.rows import write_rows

# The driver's own program without Ray; where the workers would begin, it says what is imported and ends.
DRIVER = """
import sys
import trainer.driver.onerun
from trainer.__main__ import main

def not_fitted(*_, **__):
    print("imported:", *sorted({"torch", "peft", "pandas", "accelerate", "datasets"} & sys.modules.keys()))
    raise SystemExit(0)

trainer.driver.onerun.fit = not_fitted
trainer.driver.onerun.Workers.begin = lambda _: None
main(sys.argv[1:])
"""

RANK = """
import sys
import trainer.rank.worker
import trainer.rank.run

late = {
    "datasets", "deepspeed", "evaluate", "gguf", "jiwer", "matplotlib", "pandas", "pyarrow", "ray", "rich", "sacrebleu", "scipy", "sklearn",
    "tensorboard", "torchvision",
}
print("imported:", *sorted(late & sys.modules.keys()))
"""


def python(program: str, *arguments: str, **environment: str) -> list[str]:
    """Run a program and return the lines it printed."""
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment
    done = subprocess.run([sys.executable, "-c", program, *arguments], env=env, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() or pytest.fail(done.stderr)


def test_the_driver_reads_tokenizes_and_checks_everything_without_torch(tmp_path: Path) -> None:
    tiny_learner(tmp_path / "model")
    write_rows(tmp_path / "train.jsonl", 40)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(wire_config(tmp_path, workers__workers=2, progress__file=str(tmp_path / "progress.json"))))

    lines = python(DRIVER, "--config", str(config), FINETUNE_CACHE=str(tmp_path / "cache"))

    assert "imported:" in lines, lines


def test_a_rank_imports_what_it_measures_and_reports_with_when_it_does() -> None:
    assert python(RANK) == ["imported:"]
