"""`finetune init` writes a job that is valid as it stands, and says what it guessed."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.api.sources import DataFormat
from finetune.api.spec import FineTuneJobSpec
from finetune.api.tasks import TaskName
from finetune.cli.command import run_command
from finetune.cli.datafile import FirstRows
from finetune.cli.guess import TO_FILL_IN, Guess
from finetune.cli.init import ENCODER, WRITER, Recipe, job_text
from finetune.cli.jobfile.reading import read_job_file
from finetune.cli.local.configuration import Folders, plan_local_run
from finetune.cli.local.machine import Machine
from tests.finetune.cli.tables import repeated


def initialized(folder: Path, name: str, content: str | bytes, monkeypatch: pytest.MonkeyPatch) -> FineTuneJobSpec:
    """Write a data file, run `finetune init` beside it, and return the spec that `finetune check` would read."""
    monkeypatch.chdir(folder)
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    assert run_command(["init", name]) == 0
    return read_job_file(folder / "job.yaml").spec


def columns_of(spec: FineTuneJobSpec) -> dict[str, str]:
    columns = spec.data.train[0].columns
    return columns.to_wire() if columns else {}


@pytest.mark.parametrize(
    ("name", "content", "task", "columns", "recipe"),
    [
        pytest.param("a.csv", "prompt,completion\na b,c\n", "chat", {"prompt": "prompt", "completion": "completion"}, WRITER, id="pairs"),
        pytest.param("a.csv", "text,label\na b,c\n", "text-classification", {"text": "text", "label": "label"}, ENCODER, id="classes"),
        pytest.param("a.txt", "words\n", "language-modeling", {}, WRITER, id="plain text"),
    ],
)
def test_the_job_is_of_the_task_that_was_guessed_and_of_a_model_that_can_learn_it(
    tmp_path: Path, name: str, content: str, task: str, columns: dict[str, str], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = initialized(tmp_path, name, content, monkeypatch)
    assert spec.task == task
    assert columns_of(spec) == columns
    assert spec.data.train[0].path == name
    assert spec.data.validation_fraction
    assert spec.data.test_fraction
    assert spec.model.name == recipe.model
    assert (spec.method.full is not None, spec.method.lora is not None) == (recipe is ENCODER, recipe is WRITER)


def test_a_task_that_is_given_is_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("text,label\nhi there,good\n")
    assert run_command(["init", "a.csv", "--task", "chat"]) == 0
    spec = read_job_file(Path("job.yaml")).spec
    assert (spec.task, columns_of(spec)) == ("chat", {"prompt": "text", "completion": "label"})


def test_a_task_that_needs_columns_is_refused_for_plain_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("words\n")
    assert run_command(["init", "a.txt", "--task", "translation"]) == 2
    assert capsys.readouterr().err.startswith("--task: translation needs source and target, and a file of plain text has no columns; ")
    assert not Path("job.yaml").exists()


def test_languages_that_were_found_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = json.dumps({"translation": {"en": "no", "no": "nei"}})
    source = initialized(tmp_path, "a.jsonl", rows, monkeypatch).data.train[0]
    assert (source.source_language, source.target_language, source.columns) == ("en", "no", None)


@pytest.mark.parametrize(("rows", "batch", "epochs"), [(60, 8, 10), (500, 16, 5)])
def test_few_rows_are_seen_more_often_in_smaller_batches(
    tmp_path: Path, rows: int, batch: int, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = initialized(tmp_path, "a.csv", "text,label\n" + "a b,c\nd e,f\n" * (rows // 2), monkeypatch).training
    assert (training.global_batch_size, training.micro_batch_size, training.epochs) == (batch, batch, epochs)


@pytest.mark.parametrize(("words", "tokens"), [(10, 128), (250, 256), (4000, 512)])
def test_an_encoder_reads_as_much_as_the_texts_have(tmp_path: Path, words: int, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = initialized(tmp_path, "a.csv", f"text,label\n{'is ' * words},good\nno,bad\n", monkeypatch)
    assert spec.training.max_sequence_length == tokens


@pytest.mark.parametrize(("answer", "recipe"), [("noon", ENCODER), ("at midday", WRITER)], ids=["in the text", "in other words"])
def test_answers_in_other_words_than_the_text_are_written(
    tmp_path: Path, answer: str, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = initialized(tmp_path, "a.csv", f"question,context,answer\nWhen?,It sails at noon.,{answer}\n", monkeypatch)
    assert (spec.task, spec.model.name) == ("question-answering", recipe.model)
    assert (spec.evaluation is None) == (recipe is ENCODER)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.parquet", b"PAR1", id="not-opened"),
        pytest.param("a.csv", "one,two,three\nsome words,more words,other words\n", id="three-columns-of-words"),
        pytest.param("a.json", json.dumps([{"title": "a b", "paragraphs": [{"context": "c"}]}]), id="nested"),
    ],
)
def test_columns_that_are_not_clear_are_left_to_the_user(
    tmp_path: Path, name: str, content: str | bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = initialized(tmp_path, name, content, monkeypatch)
    assert TO_FILL_IN in columns_of(spec).values()
    printed = capsys.readouterr().out
    assert f"Replace {TO_FILL_IN}" in printed
    assert (
        "Or remove job.yaml, and say what to learn: run finetune init again with --task text-classification (or text-generation, "
        in printed
    )


def test_a_class_of_an_unclear_text_may_be_of_another_task_and_a_task_that_was_given_is_not_questioned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    initialized(tmp_path, "a.csv", "premise,hypothesis,label\na b,c d,0\ne f,g h,1\n", monkeypatch)
    assert (
        "Or remove job.yaml, and say what to learn: run finetune init again with --task chat (or text-generation, "
        in capsys.readouterr().out
    )
    Path("job.yaml").unlink()
    assert run_command(["init", "a.csv", "--task", "text-classification"]) == 0
    assert "with --task" not in capsys.readouterr().out
    assert "remove this file and run finetune init again with --task" in Path("job.yaml").read_text()


@pytest.mark.parametrize("options", [[], ["--task", "text-classification"]], ids=["guessed", "given"])
def test_a_class_that_is_known_by_repetition_alone_may_be_of_another_task(
    tmp_path: Path, options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text(repeated("post,mood", "so glad #,happy", "so low #,sad"))
    assert run_command(["init", "a.csv", "--output", "my.yaml", *options]) == 0
    hint = "If that is not meant, remove my.yaml, and say what to learn: run finetune init again with --task chat (or text-generation, "
    assert (hint in capsys.readouterr().out) == (not options)


@pytest.mark.parametrize(("model", "said"), [("org/model", True), (ENCODER.model, False)])
def test_what_suits_the_default_model_alone_is_to_be_checked_for_another(
    tmp_path: Path, model: str, said: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("text,label\nhi there,good\nno,bad\n")
    assert run_command(["init", "a.csv", "--model", model]) == 0
    assert (f"Check method and learningRate in it: they are those for {ENCODER.model}, not for {model}" in capsys.readouterr().out) == said
    line = next(line for line in Path("job.yaml").read_text().splitlines() if f"model: {{name: {model}}}" in line)
    assert ("check method and learningRate" in line, "an encoder of the Hugging Face hub" in line) == (said, not said)


@pytest.mark.parametrize("folder", ["none", "a.csv"])
def test_a_folder_that_is_not_there_is_bad_input(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("text,label\nhi there,good\n")
    assert run_command(["init", "a.csv", "--output", f"{folder}/job.yaml"]) == 2
    assert capsys.readouterr().err == f"--output: there is no folder {folder}; make it, or give another file\n"


def test_what_was_guessed_and_the_next_command_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    initialized(tmp_path, "my rows.csv", "text,label\nhi there,good\nno,bad\n", monkeypatch)
    assert capsys.readouterr().out.splitlines() == [
        "job.yaml: a job of task text-classification for my rows.csv;"
        " column text seems to hold texts and column label their classes (2 in its first rows)",
        "Next: finetune check job.yaml",
    ]
    assert "# guessed: column text seems to hold texts" in (tmp_path / "job.yaml").read_text()


def test_a_job_that_exists_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    initialized(tmp_path, "a.csv", "text,label\nhi there,good\n", monkeypatch)
    (tmp_path / "job.yaml").write_text("mine")
    assert run_command(["init", "a.csv"]) == 2
    assert capsys.readouterr().err == "job.yaml: exists already; give another file with --output, or remove it\n"
    assert (tmp_path / "job.yaml").read_text() == "mine"


def test_the_path_of_the_data_is_relative_to_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("data", "jobs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "data" / "rows.csv").write_text("text,label\nhi there,good\n")
    monkeypatch.chdir(tmp_path)
    assert run_command(["init", "data/rows.csv", "--output", "jobs/first.yaml", "--model", "org/model"]) == 0
    spec = read_job_file(tmp_path / "jobs" / "first.yaml").spec
    assert spec.data.train[0].path == "../data/rows.csv"
    assert spec.model.name == "org/model"


@pytest.mark.parametrize("name", ["2024 Übung (neu).csv", "-.csv", "yes.csv", "a" * 80 + ".csv"])
def test_the_name_of_the_job_is_valid_whatever_the_file_is_called(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = initialized(tmp_path, name, "text,label\nhi there,good\n", monkeypatch) if name[0] != "-" else None
    if spec is None:
        (tmp_path / name).write_text("text,label\nhi there,good\n")
        monkeypatch.chdir(tmp_path)
        assert run_command(["init", f"./{name}"]) == 0
    assert read_job_file(tmp_path / "job.yaml").name


@settings(max_examples=60, deadline=None)
@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), min_size=2, max_size=2))
def test_any_name_of_a_column_stands_in_the_file_as_it_is(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    columns = {"prompt": names[0], "completion": names[1]}
    text = job_text(Path("a.csv"), Path("job.yaml"), None, Guess(TaskName.CHAT, f"it has {names}", columns), FirstRows(DataFormat.CSV))
    path = tmp_path_factory.mktemp("job") / "job.yaml"
    path.write_text(text, encoding="utf-8")
    assert columns_of(read_job_file(path).spec) == columns


def test_the_job_is_twelve_lines_under_a_comment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    initialized(tmp_path, "a.csv", "prompt,completion\nhi there,good\n", monkeypatch)
    lines = (tmp_path / "job.yaml").read_text().splitlines()
    assert lines[0].startswith("# Written by")
    assert len(lines[1:]) == 12
    assert not any(line.lstrip().startswith("#") for line in lines[1:])
    assert yaml.safe_load("\n".join(lines))["kind"] == "FineTuneJob"


@pytest.mark.parametrize(("answer", "tokens"), [("yes", 16), ("a" * 100, 64), ("a" * 9000, 512)])
def test_answers_are_generated_as_long_as_those_in_the_file(
    tmp_path: Path, answer: str, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = initialized(tmp_path, "a.csv", f"prompt,completion\nhi there,{answer}\n", monkeypatch)
    assert spec.evaluation
    assert spec.evaluation.generation
    assert spec.evaluation.generation.max_new_tokens == tokens


def test_of_plain_text_nothing_is_generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert initialized(tmp_path, "a.txt", "words\n", monkeypatch).evaluation is None


@pytest.mark.parametrize("output", ["link/job.yaml", "there/below/job.yaml", "job.yaml"])
@pytest.mark.parametrize("data", ["rows.csv", "elsewhere/rows.csv"])
def test_the_path_of_the_rows_is_found_from_the_job_also_through_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, data: str
) -> None:
    (tmp_path / "here/there/below").mkdir(parents=True)
    (tmp_path / "here/link").symlink_to("there/below")
    (tmp_path / "here/elsewhere").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "here"):
        (folder / "rows.csv").write_text(f"text,label\n{folder},a\n")
    monkeypatch.chdir(tmp_path / "here")
    assert run_command(["init", data, "--output", output]) == 0
    found = plan_local_run(read_job_file(Path(output)), Folders(tmp_path / "out"), {}, Machine(1, 0)).config.data.train[0].path
    assert found is not None
    assert Path(found).read_text() == Path(data).read_text()


@pytest.mark.parametrize(
    ("answer", "tokens"),
    [("word " * 9, 16), ("word " * 10, 32), ("\u4f60" * 16, 16), ("\u4f60" * 17, 32)],
    ids=["short English", "longer English", "short Chinese", "longer Chinese"],
)
def test_the_longest_answer_has_room_in_every_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, tokens: int) -> None:
    rows = json.dumps([{"prompt": "a", "completion": answer}, {"prompt": "b", "completion": "c"}])
    spec = initialized(tmp_path, "a.json", rows, monkeypatch)
    assert spec.evaluation is not None
    assert spec.evaluation.generation is not None
    assert spec.evaluation.generation.max_new_tokens == tokens
