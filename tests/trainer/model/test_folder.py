import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.api.errors import InputError
from trainer.model.folder import check_folder, weight_files


@pytest.fixture
def folder(saved_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved_model, tmp_path / "model"))


def remove(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def adapter_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")


def gguf_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.Q4_1.gguf")


def git_lfs_pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 538090408\n")


def torn_copy(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def shard_missing(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def shard_outside(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../elsewhere.safetensors"}}))


def config_with(**members: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | members))

    return change


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


FAULTS = [
    pytest.param(remove("model.safetensors"), "no weights", id="no weights"),
    pytest.param(pickle_only, "only as pickle (pytorch_model.bin)", id="pickle"),
    pytest.param(adapter_only, "an adapter, not a whole model", id="adapter"),
    pytest.param(gguf_only, "only as GGUF", id="gguf"),
    pytest.param(git_lfs_pointer, "git lfs pull", id="git lfs pointer"),
    pytest.param(torn_copy, "its header says", id="torn copy"),
    pytest.param(shard_missing, "lacks model-00002-of-00002.safetensors (1 of 2", id="shard missing"),
    pytest.param(shard_outside, "lacks elsewhere.safetensors", id="shard outside the folder"),
    pytest.param(remove("tokenizer.json"), "no tokenizer", id="no tokenizer"),
    pytest.param(remove("config.json"), "no config.json", id="no config"),
    pytest.param(broken_config, "config.json cannot be read", id="broken config"),
    pytest.param(config_with(quantization_config={"bits": 4}), "quantized", id="quantized"),
    pytest.param(config_with(attn_implementation="org/kernel"), "attn_implementation in", id="attention of the hub"),
    pytest.param(config_with(text_config={"_attn_implementation": {"": "a/b@v1:f"}}), "is a/b@v1:f, code of the hub", id="in a part"),
    pytest.param(config_with(model_type=""), "no model_type", id="no model type"),
]


def test_a_folder_as_save_pretrained_writes_it_is_accepted(folder: Path) -> None:
    check_folder(folder, "model.path")

    assert weight_files(folder, "model.path") == [folder / "model.safetensors"]


@pytest.mark.parametrize(("change", "words"), FAULTS)
def test_what_is_wrong_with_a_folder_is_said_with_field_and_fix(folder: Path, change: Callable[[Path], None], words: str) -> None:
    change(folder)

    with pytest.raises(InputError) as refused:
        check_folder(folder, "model.path")

    assert refused.value.field == "model.path"
    assert words in str(refused.value)
    assert refused.value.fix


def test_a_missing_folder_and_a_file_in_its_place_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match="there is no folder"):
        check_folder(tmp_path / "nothing", "model.path")
    with pytest.raises(InputError, match="is a file, not a folder"):
        check_folder(tmp_path / "file", "model.path")
