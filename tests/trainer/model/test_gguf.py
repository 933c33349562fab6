import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from finetune.api.sources import ModelSource
from tests.trainer.fixtures.ggufs import located_gguf, write_gguf
from trainer.driver.exits import reason_of
from trainer.evaluation.generation import generate
from trainer.model.gguf import CACHE_VARIABLE, FORMAT_VERSION, cached_folder, convert, dequantized_folder
from trainer.model.load import load_model, provenance_of
from trainer.model.location import LocatedModel, locate
from trainer.model.tokenizer import load_tokenizer
from trainer.objectives.family import CAUSAL_LM
from trainer.preflight.architecture import configuration_of

QUICKSTART = ModelSource(name="HuggingFaceTB/SmolLM2-135M-Instruct")


# A process of its own that converts slowly: a reader without a lock would see one file of the two.
CONVERTER = """
import os, sys, time
from pathlib import Path
from trainer.model.gguf import dequantized_folder

def convert(file, folder, go_on):
    (folder / "first").write_bytes(file.read_bytes())
    time.sleep(0.5)
    (folder / "second").write_text(str(os.getpid()))

folder = dequantized_folder(Path(sys.argv[1]), convert)
print(*sorted(entry.name for entry in folder.iterdir()), (folder / "second").read_text())
"""


def two_files(file: Path, folder: Path, _go_on: Callable[[], None]) -> None:
    (folder / "first").write_bytes(file.read_bytes())
    (folder / "second").touch()


@pytest.fixture
def gguf_file(tmp_path: Path) -> Path:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF and more")
    return file


def test_several_processes_at_once_convert_once_and_all_see_the_whole(gguf_file: Path, tmp_path: Path) -> None:
    environment = os.environ | {"FINETUNE_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", CONVERTER, str(gguf_file)]
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]

    seen = [process.communicate()[0].split() for process in processes]

    assert [line[:2] for line in seen] == [["first", "second"]] * 3
    assert len({line[2] for line in seen}) == 1, "one process converted for all"


def test_what_a_killed_conversion_left_is_cleared_away(gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path))

    def killed(_file: Path, folder: Path, _go_on: Callable[[], None]) -> None:
        (folder / "rest").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dequantized_folder(gguf_file, killed)
    folder = dequantized_folder(gguf_file, two_files)

    assert sorted(entry.name for entry in folder.iterdir()) == ["first", "second"]


def test_another_file_gets_another_folder(gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path))
    first = dequantized_folder(gguf_file, two_files)
    gguf_file.write_bytes(b"GGUF of another model")

    assert dequantized_folder(gguf_file, two_files) != first


def test_a_file_is_read_for_its_folder_once_in_each_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    read = list[Path]()
    monkeypatch.setattr("trainer.model.gguf.sha256_of", lambda file: read.append(file) or file.read_text())
    file = tmp_path / "model.gguf"
    for version in ("first", "second"):
        file.write_text(version)
        (tmp_path / "cache" / "models" / f"{version}-v{FORMAT_VERSION}").mkdir(parents=True)
        assert [cached_folder(file), cached_folder(file)] == [tmp_path / "cache" / "models" / f"{version}-v{FORMAT_VERSION}"] * 2
    assert read == [file, file]


def test_a_file_that_is_no_gguf_says_what_failed(gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path))
    gguf_file.write_bytes(b"<html>not found</html>")

    with pytest.raises(RuntimeError, match=r"model\.gguf could not be dequantized: .* is not a GGUF file"):
        dequantized_folder(gguf_file)


@pytest.mark.parametrize("tied", [True, False])
def test_the_folder_is_the_one_that_transformers_writes_after_reading_the_file(tmp_path: Path, tied: bool) -> None:
    file, ours, theirs = write_gguf(tmp_path / "model.gguf", tied=tied), tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    convert(file, ours, lambda: None)
    asked = {"gguf_file": file.name, "quantization_config": GgufConfig(dequantize=True), "dtype": torch.float32}
    AutoModelForCausalLM.from_pretrained(tmp_path, **asked).save_pretrained(theirs)
    AutoTokenizer.from_pretrained(tmp_path, gguf_file=file.name).save_pretrained(theirs)

    assert sorted(path.name for path in ours.iterdir()) == sorted(path.name for path in theirs.iterdir())
    for name in ("model.safetensors", "tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
    # Where it came from, and how it was loaded, is not part of the model.
    for name, left_out in (("config.json", {"_model_name_or_path"}), ("tokenizer_config.json", {"is_local", "local_files_only"})):
        settings = json.loads((theirs / name).read_text())
        assert json.loads((ours / name).read_text()) == {key: settings[key] for key in settings.keys() - left_out}


def test_another_architecture_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path))
    file = write_gguf(tmp_path / "model.gguf", architecture="gemma")
    with pytest.raises(RuntimeError, match="could not be dequantized: its architecture is gemma, not llama"):
        dequantized_folder(file)


@pytest.mark.parametrize("key", ["llama.context_length", "llama.attention.head_count", "tokenizer.ggml.tokens", "tokenizer.ggml.merges"])
def test_metadata_that_the_file_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    file = write_gguf(tmp_path / "model.gguf")
    stored = len(key).to_bytes(8, "little") + key.encode()
    assert stored in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(stored, stored[:-1] + b"?"))
    with pytest.raises(RuntimeError, match=rf"could not be dequantized: its metadata has no {key}$"):
        load_tokenizer(located_gguf(file))


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(load_tokenizer, id="the tokenizer"),
        pytest.param(configuration_of, id="the configuration"),
        pytest.param(lambda located: load_model(located, torch.float32, CAUSAL_LM), id="the weights"),
    ],
)
def test_a_disk_that_is_full_is_no_fault_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Callable[[LocatedModel], object]
) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    located = located_gguf(write_gguf(tmp_path / "model.gguf"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            load(located)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert reason_of(caught.value) == "StorageFailed"
    assert [path.suffix for path in (tmp_path / "cache" / "models").iterdir()] == [".lock"]


@pytest.fixture(scope="module")
def quickstart_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.slow
@pytest.mark.usefixtures("quickstart_package")
def test_the_quickstart_model_speaks_english_and_states_its_precision(quickstart_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(quickstart_cache))
    located = locate(QUICKSTART)
    tokenizer, model = load_tokenizer(located), load_model(located, torch.float32, CAUSAL_LM)
    turns = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]

    provenance = provenance_of(located, torch.float32)

    assert "Paris" in generate(model, tokenizer, [prompt], 20)[0].text
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert provenance.parameters == sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    assert provenance.precision == "4-bit (GGUF Q4_1), dequantized, held as float32"


@pytest.mark.slow
@pytest.mark.usefixtures("quickstart_package")
def test_the_dequantized_weights_are_those_that_the_gguf_library_reads(quickstart_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gguf import GGUFReader, dequantize

    monkeypatch.setenv("FINETUNE_CACHE", str(quickstart_cache))
    located = locate(QUICKSTART)
    ours = load_file(dequantized_folder(located.path) / "model.safetensors")
    stored = {tensor.name: tensor for tensor in GGUFReader(located.path).tensors}

    # Query and key are stored with their rotary halves interleaved; these tensors are stored as they are.
    pairs = {
        "token_embd.weight": "model.embed_tokens.weight",
        "blk.0.ffn_down.weight": "model.layers.0.mlp.down_proj.weight",
        "blk.29.attn_v.weight": "model.layers.29.self_attn.v_proj.weight",
        "output_norm.weight": "model.norm.weight",
    }
    for theirs, name in pairs.items():
        tensor = stored[theirs]
        torch.testing.assert_close(ours[name], torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy()), rtol=0, atol=0)
