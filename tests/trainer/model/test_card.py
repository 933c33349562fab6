"""The lines of Python in an export's README load it, run as they stand in the folder that they lie in."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.builders import train_config
from tests.trainer.fixtures.causal import located_folder, random_prompts
from tests.trainer.model.test_exporter import exported, trained
from trainer.model.beside import Origin
from trainer.model.card import adapter_card
from trainer.model.load import provenance_of
from trainer.model.location import ModelKind
from trainer.model.lora import peft_warnings_silenced
from trainer.objectives.family import CAUSAL_LM

BOTH = train_config(output={"directory": "/output", "export": ["adapter", "merged"]})
INPUT = torch.tensor(random_prompts([12]))


def run_readme(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the README's Python in its folder and return the names that it leaves."""
    [code] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    with peft_warnings_silenced():
        exec(code, names)  # noqa: S102 that it runs is what is tested
    return names


@pytest.mark.parametrize("index", [0, 1], ids=["adapter", "merged"])
def test_the_readme_loads_the_model_that_was_trained(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    model = trained(saved_model, BOTH)
    folder = exported(model, BOTH, saved_model, tmp_path / "model")[index]
    moved = folder.rename(tmp_path / "elsewhere")

    names = run_readme(moved, monkeypatch)

    torch.testing.assert_close(names["model"].eval()(INPUT).logits, model(INPUT).logits, rtol=1e-4, atol=1e-4)
    assert names["tokenizer"].chat_template


def test_the_readme_says_which_weights_the_base_has(saved_model: Path, tmp_path: Path) -> None:
    folder, _ = exported(trained(saved_model, BOTH), BOTH, saved_model, tmp_path / "model")

    text = (folder / "README.md").read_text()

    assert provenance_of(located_folder(saved_model), torch.float32).digest in text
    assert f"`{saved_model.resolve()}` is where the base was" in text


def test_a_base_of_the_hub_is_named_with_its_commit(saved_model: Path) -> None:
    located = replace(located_folder(saved_model), name="org/model", revision="c" * 40)

    text = adapter_card(
        Origin(located, None, provenance_of(located, torch.float32), "bot", torch.bfloat16, CAUSAL_LM), "org/model", "c" * 40
    )

    assert "base_model: org/model" in text
    assert f"from_pretrained('org/model', revision='{'c' * 40}', dtype='bfloat16')" in text


def test_the_card_says_how_to_make_dequantized_weights_again(saved_model: Path) -> None:
    located = replace(located_folder(saved_model), kind=ModelKind.GGUF, path=Path("/packages/model.gguf"))
    provenance = provenance_of(located_folder(saved_model), torch.float32)

    text = adapter_card(Origin(located, None, provenance, "bot", torch.float32, CAUSAL_LM), "/cache/folder", None)

    assert "`python -m trainer.model.gguf /packages/model.gguf FOLDER` makes the folder again" in text
    assert "base_model:" not in text


def test_a_base_on_a_claim_is_named_by_claim_and_path(saved_model: Path) -> None:
    located = located_folder(saved_model)
    origin = Origin(located, None, provenance_of(located, torch.float32), "bot", torch.float32, CAUSAL_LM)

    text = adapter_card(origin, "/mnt/claims/models/llama/1b", None)

    assert "is where the base was in the job's pods (`llama/1b` on the PersistentVolumeClaim models) when this was written" in text
