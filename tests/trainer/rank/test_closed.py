"""A rank is closed to the hub before the first library of the hub is imported, however its process came to be."""

import os
import subprocess
import sys

import pytest

from finetune.system.hubaccess import CLOSED, TOKENS
from tests.repository import REPOSITORY
from trainer.rank.launch import PRELOAD_VARIABLE

pytestmark = pytest.mark.timeout(300)

LIBRARIES = ("huggingface_hub", "transformers", "datasets", "peft", "evaluate", "torch")
BEFORE = f"""
import sys
import {{module}}
print([name for name in {LIBRARIES} if name in sys.modules])
"""
PRELOADED = """
import os
import trainer.rank.preload
import huggingface_hub, datasets
from huggingface_hub import constants
print(constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY, datasets.config.HF_DATASETS_OFFLINE, os.environ.get("HF_TOKEN"))
"""


def said(program: str, **changes: str) -> str:
    """Return the last line of a program whose environment says nothing of being offline, and has a token."""
    others = {name: value for name, value in os.environ.items() if name not in (*CLOSED, *TOKENS)}
    environment = others | {"PYTHONPATH": str(REPOSITORY), "RAY_TRAIN_V2_ENABLED": "1", "HF_TOKEN": "hf_given"} | changes
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("module", ["trainer.rank.worker", "trainer.rank.preload", "trainer.__main__"])
def test_what_closes_a_process_comes_before_the_libraries(module: str) -> None:
    assert said(BEFORE.format(module=module)) == "[]"


def test_a_process_that_waits_to_become_a_rank_is_closed() -> None:
    assert said(PRELOADED, **{PRELOAD_VARIABLE: "torch"}) == "True True True None"
