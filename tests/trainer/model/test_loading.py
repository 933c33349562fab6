"""The Python of the project's README loads what a run writes, as it stands."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.builders import train_config
from tests.repository import REPOSITORY
from tests.trainer.fixtures.causal import random_prompts
from tests.trainer.fixtures.encoders import CLASSES, save_encoder
from tests.trainer.model.test_exporter import exported, trained
from trainer.model.lora import peft_warnings_silenced

README = (REPOSITORY / "README.md").read_text()
BOTH = train_config(output={"directory": "/output", "export": ["adapter", "merged"]})
INPUT = torch.tensor(random_prompts([12]))


@pytest.fixture
def written(saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The model of a run whose results lie where the README says, a model of classes where it says; the current folder is above both."""
    model = trained(saved_model, BOTH)
    exported(model, BOTH, saved_model, tmp_path / "runs" / "quickstart" / "model")
    names = dict(enumerate(CLASSES))
    save_encoder(tmp_path / "runs" / "reviews" / "model" / "merged", "AutoModelForSequenceClassification", id2label=names)
    monkeypatch.chdir(tmp_path)
    return model


def test_the_lines_of_python_load_the_whole_models_and_print_class_and_answer(written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 that it runs is what is tested
    torch.testing.assert_close(names["say"].model.eval()(INPUT).logits, written(INPUT).logits, rtol=1e-4, atol=1e-4)
    printed, answered = capsys.readouterr().out.split("\n", 1)
    [found] = ast.literal_eval(printed)
    assert found["label"] in CLASSES
    assert 0 < found["score"] <= 1
    assert answered.endswith("\n")


def test_the_line_of_python_loads_the_adapter_with_its_base(written: Any) -> None:
    from peft import AutoPeftModelForCausalLM

    [line] = re.findall(r"`(AutoPeftModelForCausalLM\.[^`]+)`", README)
    with peft_warnings_silenced():
        loaded = eval(line, {"AutoPeftModelForCausalLM": AutoPeftModelForCausalLM})  # noqa: S307
    torch.testing.assert_close(loaded.eval()(INPUT).logits, written(INPUT).logits, rtol=1e-4, atol=1e-4)
