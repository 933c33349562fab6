"""A run's folder, a model, an adapter and a name on the hub are all taken as they are."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune.api.errors import InputError
from finetune.api.sections import Export
from finetune.api.tasks import TaskName
from finetune.api.using import ChosenModel
from tests.trainer.fixtures.runs import run_in
from trainer.export import ExportOptions, export_run
from trainer.using.found import Found, find


def found(folder: Path | str, *, base: bool = False, **options: Any) -> Found:
    return find(ChosenModel(name=str(folder), **options), base=base)


def test_of_a_run_the_whole_model_is_taken_and_where_its_base_is_asked_for_the_adapter(run: Path) -> None:
    whole, adapter = found(run), found(run, base=True)

    assert (whole.located.path, whole.adapter) == (run / "model" / "merged", None)
    assert (adapter.located.path.name, adapter.adapter) == ("base", run / "model" / "adapter")
    assert adapter.digest is not None
    assert whole.said == "the whole model of the run support-bot"


@pytest.mark.parametrize("form", ["merged", "adapter"])
def test_the_form_that_a_run_has_is_taken(run: Path, form: str) -> None:
    shutil.rmtree(run / "model" / ({"merged", "adapter"} - {form}).pop())

    assert (found(run).adapter is not None) == (form == "adapter")
    assert (found(run, base=True).adapter is not None) == (form == "adapter")


def test_a_run_says_how_long_its_rows_are(run: Path, saved_model: Path) -> None:
    trained = json.loads((run / "run.json").read_text())["lineage"]["training"]

    assert found(run).max_length == trained["maxSequenceLength"]
    assert found(saved_model).max_length is None


def test_a_run_says_its_task_and_its_columns(run: Path) -> None:
    columns = found(run).columns

    assert found(run).task is TaskName.CHAT
    assert columns is not None
    assert (columns.prompt, columns.completion) == ("message", "intent")


@pytest.mark.parametrize("place", ["model/merged", "model/adapter", "model"])
def test_an_exported_folder_alone_still_says_its_task(run: Path, tmp_path: Path, place: str) -> None:
    moved = Path(shutil.copytree(run / place, tmp_path / "moved"))

    assert found(moved).task is TaskName.CHAT
    assert found(moved).record is not None


@pytest.mark.parametrize("form", ["merged", "adapter"])
def test_an_exported_folder_alone_says_the_languages_and_the_seed_of_its_training(saved_model: Path, tmp_path: Path, form: str) -> None:
    pairs = [("de", "en"), ("en", "de")]
    data = {"train": [{"path": "/rows.csv", "sourceLanguage": source, "targetLanguage": target} for source, target in pairs]}
    run_in(tmp_path / "run", saved_model, {1: 9.0}, task="translation", data=data, training__seed=7)
    export_run(ExportOptions(tmp_path / "run", (Export(form),), tmp_path / "elsewhere"), lambda _: None)

    alone = found(tmp_path / "elsewhere" / form)

    assert (alone.task, alone.languages, alone.seed) == (TaskName.TRANSLATION, tuple(pairs), 7)


def test_a_model_that_was_not_trained_here_has_neither_task_nor_base(saved_model: Path) -> None:
    bare = found(saved_model)

    assert (bare.located.path, bare.task, bare.record, bare.languages, bare.seed) == (saved_model, None, None, None, None)


def test_a_name_is_looked_up_as_that_of_a_job_is(saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(saved_model, tmp_path / "store" / "org" / "tiny")
    monkeypatch.setenv("FINETUNE_MODEL_STORE", str(tmp_path / "store"))

    assert found("org/tiny").located.path == tmp_path / "store" / "org" / "tiny"


def test_a_base_that_was_moved_is_named_with_an_option(run: Path, tmp_path: Path) -> None:
    adapter = run / "model" / "adapter"
    base = Path(json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"])
    for file, name in (("base-weights.json", "name"), ("adapter_config.json", "base_model_name_or_path")):
        content = json.loads((adapter / file).read_text())
        (adapter / file).write_text(json.dumps(content | {name: str(tmp_path / "gone")}))

    with pytest.raises(InputError, match=r"^DIR: the base model of .*adapter is not there: there is no folder .*gone; .* --base-model$"):
        found(adapter)
    assert found(adapter, base_model=base).located.path == base


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none", r"^DIR: there is no folder /.*none; name the folder of a run or of a model"),
        ("file", r"^DIR: .*file is a file, not a folder"),
        ("empty", r"^DIR: .*empty is neither a run nor a model: it has no run.json, config.json or adapter_config.json"),
        ("failed", r"^DIR: the run in .*failed has written no model yet; .*finetune export .*failed --merged"),
        ("torn", r"^DIR: .*run.json is damaged"),
    ],
)
def test_a_folder_that_cannot_be_used_is_named_with_what_to_do(run: Path, tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    shutil.copytree(run, tmp_path / "failed")
    shutil.rmtree(tmp_path / "failed" / "model")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "run.json").write_text("{")

    with pytest.raises(InputError, match=words):
        found(tmp_path / name)


def test_a_run_says_between_which_languages_it_translates(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    pairs = [("de", "en"), ("en", "de"), ("de", "en")]
    record["lineage"]["data"] = {"train": [{"sourceLanguage": source, "targetLanguage": target} for source, target in pairs]}
    (run / "run.json").write_text(json.dumps(record))

    assert found(run).languages == (("de", "en"), ("en", "de"))


def test_an_adapter_with_its_weights_as_pickle_or_without_is_refused(run: Path) -> None:
    adapter = run / "model" / "adapter"
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(InputError, match=r"adapter has weights only as pickle \(adapter_model.bin\), which can run code when it is read"):
        found(adapter)

    (adapter / "adapter_model.bin").unlink()
    with pytest.raises(InputError, match=r"adapter has no weights \(no adapter_model.safetensors\)"):
        found(adapter)
