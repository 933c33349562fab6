"""The limits in a model's config.json are those of the real model."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.repository import REPOSITORY
from tests.trainer.fixtures.architectures import OWN, SMALL, with_config
from tests.trainer.fixtures.causal import located_folder
from trainer.preflight.architecture import FIXED_POSITIONS, limits_of

FIRST = """
import sys
from pathlib import Path
from tests.trainer.fixtures.causal import located_folder
from trainer.preflight.architecture import limits_of

print(limits_of(located_folder(Path(sys.argv[1]))).positions, "torch" in sys.modules)
"""


def test_the_first_that_asks_for_transformers_gets_it_without_torch(saved_model: Path) -> None:
    positions = limits_of(located_folder(saved_model)).positions
    done = subprocess.run([sys.executable, "-c", FIRST, str(saved_model)], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(positions), "False"]


def runs(model_type: str, length: int) -> bool:
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **(SMALL | OWN.get(model_type, {})))).eval()
    try:
        model(torch.zeros((1, length), dtype=torch.long))
    except (IndexError, RuntimeError):
        return False
    return True


@pytest.mark.parametrize("model_type", sorted(FIXED_POSITIONS))
def test_a_table_of_positions_holds_just_as_many_as_is_said(saved_model: Path, tmp_path: Path, model_type: str) -> None:
    limits = limits_of(with_config(saved_model, tmp_path / "model", model_type))

    assert (limits.positions, limits.fixed, limits.vocabulary) == (16, True, 64)
    assert runs(model_type, 16)
    assert not runs(model_type, 17)


@pytest.mark.parametrize("model_type", ["llama", "gpt_neox", "xglm", "bloom", "qwen2", "phi"])
def test_other_models_go_on_beyond_their_context(saved_model: Path, tmp_path: Path, model_type: str) -> None:
    assert not limits_of(with_config(saved_model, tmp_path / "model", model_type)).fixed
    assert runs(model_type, 40)
