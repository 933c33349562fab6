"""A process that waits to become a rank has imported what a rank needs, and any other has not."""

import os
import subprocess
import sys

import pytest

from tests.repository import REPOSITORY
from trainer.rank.launch import PRELOAD_VARIABLE

pytestmark = pytest.mark.timeout(300)

PROGRAM = """
import os
import sys

import trainer.rank.preload

names = ("ray.train", "deepspeed", "torch", "transformers", "trainer.rank.run")
order = [name for name in sys.modules if name in names]
print(*(name for name in names if name in order))
print("deepspeed" in order and order.index("deepspeed") < order.index("transformers"), repr(os.environ.get("CUDA_VISIBLE_DEVICES")))
print(sys.modules["deepspeed"].accelerator.get_accelerator()._name if "deepspeed" in order else None)
"""


@pytest.mark.parametrize(
    ("asked", "imported", "rest"),
    [
        pytest.param("deepspeed", "ray.train deepspeed torch transformers trainer.rank.run", "True '' cpu", id="a rank with DeepSpeed"),
        pytest.param("torch", "ray.train torch transformers trainer.rank.run", "False '' None", id="a rank"),
        pytest.param("", "", "False '0' None", id="the box"),
        pytest.param(None, "", "False '0' None", id="a process of another Ray"),
    ],
)
def test_only_a_process_for_a_rank_imports_what_a_rank_needs_and_sees_no_gpu(asked: str | None, imported: str, rest: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "0", "RAY_TRAIN_V2_ENABLED": "1"}
    environment |= {} if asked is None else {PRELOAD_VARIABLE: asked, "DS_ACCELERATOR": "cuda"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *_, found, order, accelerator = done.stdout.split("\n")[:-1]
    assert (found, f"{order} {accelerator}") == (imported, rest)
