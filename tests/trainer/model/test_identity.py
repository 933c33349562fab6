"""A model's digest changes with whatever changes what is trained, and with nothing else."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.trainer.fixtures.causal import located_folder
from trainer.model.identity import model_digest
from trainer.model.location import ModelKind


def test_a_copy_of_a_folder_is_the_same_model(saved_model: Path, tmp_path: Path) -> None:
    shutil.copytree(saved_model, tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("about it")

    assert model_digest(located_folder(tmp_path / "copy"), "sha256:1") == model_digest(located_folder(saved_model), "sha256:1")


@pytest.mark.parametrize(
    "file", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
)
def test_another_small_file_is_another_model(saved_model: Path, tmp_path: Path, file: str) -> None:
    shutil.copytree(saved_model, tmp_path / "copy")
    with (tmp_path / "copy" / file).open("a") as stream:
        stream.write("\n")

    assert model_digest(located_folder(tmp_path / "copy"), "sha256:1") != model_digest(located_folder(saved_model), "sha256:1")


def test_other_weights_are_another_model(saved_model: Path) -> None:
    located = located_folder(saved_model)
    packed = replace(located, kind=ModelKind.GGUF)

    assert model_digest(located, "sha256:1") != model_digest(located, "sha256:2")
    assert model_digest(packed, "sha256:1") != model_digest(packed, "sha256:2")
