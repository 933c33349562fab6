"""A job's sources become one checked data set; the first fault of the user ends it, named by field, file and line."""

import cProfile
import gzip
import json
import os
import pstats
from pathlib import Path

import pytest
from pydantic import ValidationError

from finetune.api.errors import InputError
from finetune.api.sources import Source
from tests.builders import train_config
from tests.trainer.fixtures.examples import source
from tests.trainer.fixtures.stored import prepared
from trainer.data.rows import Dataset
from trainer.data.rowstore import digest_of
from trainer.preflight.prepare import prepare


def write_rows(path: Path, *pairs: tuple[str, str]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps({"prompt": prompt, "completion": completion}) + "\n" for prompt, completion in pairs))
    return path


def numbered(start: int, stop: int) -> list[tuple[str, str]]:
    return [(f"question {number}", f"answer {number}") for number in range(start, stop)]


def test_sources_of_all_sets_are_read_in_order(tmp_path: Path) -> None:
    first, second = write_rows(tmp_path / "a.jsonl", *numbered(0, 3)), write_rows(tmp_path / "b.jsonl", *numbered(3, 5))
    held_out = write_rows(tmp_path / "test.jsonl", *numbered(10, 12))
    dataset = prepared(train_config(data={"train": [source(first), source(second)], "test": [source(held_out)]}))
    assert [example.origin for example in dataset.train] == [
        *(f"data.train[0] line {line}" for line in (1, 2, 3)),
        *(f"data.train[1] line {line}" for line in (1, 2)),
    ]
    assert [example.origin for example in dataset.test] == ["data.test[0] line 1", "data.test[0] line 2"]
    assert (dataset.validation, dataset.findings) == ((), ())


def test_empty_transcripts_are_measured_and_not_learned(tmp_path: Path) -> None:
    train = tmp_path / "train.csv"
    train.write_text("hypothesis,reference\na bell,A bell.\n,Who is there?\nthe see,The sea.\n")
    test = tmp_path / "test.jsonl"
    rows = [("", "Nobody spoke."), ("  ", "Yes."), ("", "Who is there?"), (None, "No."), ("oh", ""), ("tow boats", "two boats")]
    test.write_text("\n".join(json.dumps({"hypothesis": given, "reference": said}) for given, said in rows))
    config = train_config(task="transcript-correction", data={"train": [source(train)], "test": [source(test)]})

    dataset = prepared(config)

    assert [row.given for row in dataset.train] == ["a bell", "the see"]
    assert [(row.given, row.answer) for row in dataset.test] == [
        ("", "Nobody spoke."), ("", "Yes."), ("", "Who is there?"), ("tow boats", "two boats"),
    ]  # fmt: skip
    assert sorted(dataset.findings) == [
        "data.test[0]: 2 rows have an empty 'hypothesis' or 'reference' and are left out (the first: line 4)",
        "data.train: 1 row was left out, because the same prompt is in data.test (the first: data.train[0] line 3)",
    ]
    alone = prepared(train_config(task="transcript-correction", data={"train": [source(train)]}))
    assert [row.given for row in alone.train] == ["a bell", "the see"]
    assert alone.findings == ("data.train: 1 row is not learned: the recognizer wrote nothing (the first: data.train[0] line 3)",)


def test_empty_transcripts_are_held_out_like_others_and_training_needs_one_that_is_not(tmp_path: Path) -> None:
    train = tmp_path / "train.jsonl"
    rows = [{"hypothesis": "", "reference": f"word {number}"} for number in range(40)]
    train.write_text("\n".join(map(json.dumps, [*rows, *({"hypothesis": f"what {number}", "reference": "What?"} for number in range(9))])))
    config = {"task": "transcript-correction", "data": {"train": [source(train)], "testFraction": 0.5}}

    assert 5 < sum(not row.given for row in prepared(train_config(**config)).test) < 35, "they are no repetitions of each other"

    train.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match=r"data\.train: there is nothing to learn in any of its rows: the recognizer wrote nothing"):
        prepared(train_config(**config))


def test_duplicates_leaks_and_empty_rows_are_left_out_and_reported(tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", *numbered(0, 6), ("question 0", "answer 0"), ("question 7", ""))
    validation = write_rows(tmp_path / "validation.jsonl", *numbered(4, 9))
    test = write_rows(tmp_path / "test.jsonl", *numbered(5, 7), *numbered(5, 6))
    data = {"train": [source(train)], "validation": [source(validation)], "test": [source(test)]}
    dataset = prepared(train_config(data=data))
    assert [len(side) for side in (dataset.train, dataset.validation, dataset.test)] == [4, 3, 2]
    assert sorted(dataset.findings) == [
        "data.test: 1 row repeats an earlier one and is left out (the first: data.test[0] line 3)",
        "data.train: 1 row repeats an earlier one and is left out (the first: data.train[0] line 7)",
        "data.train: 1 row was left out, because the same prompt is in data.test (the first: data.train[0] line 6)",
        "data.train: 1 row was left out, because the same prompt is in data.validation (the first: data.train[0] line 5)",
        "data.train[0]: 1 row has an empty 'completion' and is left out (the first: line 8)",
        "data.validation: 2 rows were left out, because the same prompt is in data.test (the first: data.validation[0] line 2)",
    ]


def test_a_set_that_is_given_and_one_that_is_split_off_go_together(tmp_path: Path) -> None:
    train, test = write_rows(tmp_path / "train.jsonl", *numbered(0, 100)), write_rows(tmp_path / "test.jsonl", *numbered(200, 210))
    dataset = prepared(train_config(data={"train": [source(train)], "validationFraction": 0.1, "test": [source(test)]}))
    assert len(dataset.test) == 10
    assert 3 <= len(dataset.validation) <= 20
    assert len(dataset.train) + len(dataset.validation) == 100


def test_the_seed_moves_no_row_to_another_side(tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", *numbered(0, 50))
    data = {"train": [source(train)], "validationFraction": 0.2, "testFraction": 0.2}
    assert prepared(train_config(data=data)) == prepared(train_config(data=data, training={"epochs": 1, "seed": 7}))


def test_formats_can_be_mixed(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", ("a", "b"))
    (tmp_path / "b.csv").write_text("question,answer,extra\nc,d,x\n")
    columns = {"prompt": "question", "completion": "answer"}
    dataset = prepared(train_config(data={"train": [source(tmp_path / "a.jsonl"), source(tmp_path / "b.csv", columns=columns)]}))
    assert [[turn.content for turn in example.messages] for example in dataset.train] == [["a", "b"], ["c", "d"]]


def test_a_parquet_file_is_read_by_the_columns_that_are_named(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([{"q": "a", "a": "b", "embedding": [0.5] * 8}])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    dataset = prepared(train_config(data={"train": [source(tmp_path / "a.parquet", columns={"prompt": "q", "completion": "a"})]}))
    assert [turn.content for turn in dataset.train[0].messages] == ["a", "b"]
    with pytest.raises(InputError, match=r"'x' is not a column of .*a\.parquet row 1 \(it has: q, a, embedding\)"):
        prepared(train_config(data={"train": [source(tmp_path / "a.parquet", columns={"prompt": "x", "completion": "a"})]}))


def test_paragraphs_of_a_book_are_rows_for_language_modeling(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("One.\n\nTwo,\nstill two.\n")
    dataset = prepared(train_config(data={"train": [source(tmp_path / "book.txt")]}, task="language-modeling"))
    assert [example.text for example in dataset.train] == ["One.", "Two,\nstill two."]


def test_the_files_of_a_folder_or_pattern_are_one_source(tmp_path: Path) -> None:
    write_rows(tmp_path / "set/b.jsonl", *numbered(0, 2))
    (tmp_path / "set/a.csv.gz").write_bytes(gzip.compress(b"question;answer\nWell, what?;It is, say, an apple.\n"))
    (tmp_path / "set/empty.jsonl").touch()
    (tmp_path / "set/.c.jsonl").write_text("hidden")
    for path in (tmp_path / "set", tmp_path / "s*/**"):
        dataset = prepared(train_config(data={"train": [source(path)]}))
        assert [example.origin.removeprefix("data.train[0] ").removeprefix("set/") for example in dataset.train] == [
            "a.csv.gz line 2",
            "b.jsonl line 1",
            "b.jsonl line 2",
        ]
        files, empty, read = dataset.findings
        assert files.startswith("data.train[0]: 3 files are read: ")
        assert empty.endswith("empty.jsonl has no rows")
        assert read == "data.train[0]: the job names no columns; 'question' as prompt and 'answer' as completion are read"


def test_articles_without_rows_are_counted_over_the_files_of_a_source_and_the_first_is_named(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    paragraph = {"context": "Ann came.", "qas": [{"id": "a", "question": "Who?", "answers": [{"text": "Ann", "answer_start": 0}]}]}
    for name, articles in (("a", [[paragraph]]), ("b", [[paragraph], []]), ("c", [[{"context": "No.", "qas": []}], []])):
        rows = [{"title": name, "paragraphs": paragraphs} for paragraphs in articles]
        (tmp_path / "set" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))

    dataset = prepared(train_config(task="question-answering", data={"train": [source(tmp_path / "set")]}))

    assert [finding for finding in dataset.findings if "without" in finding] == [
        "data.train[0]: 2 articles without paragraphs and 1 paragraph without questions add no rows (the first: b.jsonl line 2)"
    ]


def test_rows_of_a_file_whose_name_is_not_utf8_are_read_and_named(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write_rows(tmp_path / "set" / os.fsdecode(b"a\xe9.jsonl"), *numbered(0, 2))
    write_rows(tmp_path / "set" / os.fsdecode(b"a\xea.jsonl"), *numbered(1, 3))
    dataset = prepared(train_config(data={"train": [source(tmp_path / "set")]}))
    assert [example.origin for example in dataset.train] == [
        r"data.train[0] a\xe9.jsonl line 1",
        r"data.train[0] a\xe9.jsonl line 2",
        r"data.train[0] a\xea.jsonl line 2",
    ]
    assert r"data.train[0]: 2 files are read: a\xe9.jsonl, a\xea.jsonl" in dataset.findings
    " ".join(dataset.findings).encode()  # can be printed


def test_names_in_a_file_that_are_not_valid_text_can_be_printed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"rows\\ud83d": [{"prompt": "a", "completion": "b", "\\ud83d": "a long enough text"}]}')
    dataset = prepared(train_config(data={"train": [source(tmp_path / "a.json")]}))
    assert [example.origin for example in dataset.train] == ["data.train[0] rows?[0]"]
    " ".join(dataset.findings).encode()


def test_a_clone_of_a_data_set_is_read_without_its_card(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# A card")
    (tmp_path / "train.jsonl").write_text('{"text": "A story."}\n')
    dataset = prepared(train_config(data={"train": [source(tmp_path)]}, task="language-modeling"))
    assert [example.text for example in dataset.train] == ["A story."]
    assert "README.md is not read" in " ".join(dataset.findings)


def test_where_rows_lie_does_not_change_what_they_are(tmp_path: Path) -> None:
    whole = write_rows(tmp_path / "whole.jsonl", *numbered(0, 4))
    write_rows(tmp_path / "parts/1.jsonl", *numbered(0, 2))
    write_rows(tmp_path / "parts/2.jsonl", *numbered(2, 4))
    apart = prepared(train_config(data={"train": [source(tmp_path / "parts")]})).train
    together = prepared(train_config(data={"train": [source(whole)]})).train
    assert digest_of(apart) == digest_of(together)
    assert [example.id for example in apart] == [example.id for example in together]


def test_a_fault_in_one_of_several_files_names_the_file(tmp_path: Path) -> None:
    write_rows(tmp_path / "set/a.jsonl", *numbered(0, 2))
    (tmp_path / "set/b.jsonl").write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a", "completion": 5}\n')
    with pytest.raises(InputError, match=r"data\.train\[0\]\.columns\.completion: .*/set b\.jsonl line 2: 'completion' is a number"):
        prepared(train_config(data={"train": [source(tmp_path / "set")]}))
    (tmp_path / "set/b.jsonl").write_text("{")
    with pytest.raises(InputError, match=r"data\.train\[0\]: .*/set/b\.jsonl line 1 is not JSON"):
        prepared(train_config(data={"train": [source(tmp_path / "set")]}))


def test_a_delimiter_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt^completion\na, b^c; d\n")
    dataset = prepared(train_config(data={"train": [source(tmp_path / "a.csv", delimiter="^")]}))
    assert [turn.content for turn in dataset.train[0].messages] == ["a, b", "c; d"]


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n"])
def test_a_delimiter_is_one_character_that_may_stand_between_cells(delimiter: str) -> None:
    with pytest.raises(ValidationError):
        Source.model_validate({"path": "a.csv", "delimiter": delimiter})


def test_only_files_have_a_format_and_a_delimiter() -> None:
    for field in ({"format": "csv"}, {"delimiter": ";"}):
        with pytest.raises(ValidationError, match="only files have them"):
            Source.model_validate({"huggingFace": {"name": "org/set"}, **field})


def test_local_faults_are_reported_before_the_hub_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    data = {"train": [{"huggingFace": {"name": "org/set"}}, source(tmp_path / "missing.jsonl")]}
    with pytest.raises(InputError, match=r"data\.train\[1\]: there is no file"):
        prepared(train_config(data=data))


def test_a_source_that_was_not_resolved_is_refused() -> None:
    with pytest.raises(InputError, match=r"data\.train\[0\]: does not lead to a file here"):
        prepared(train_config(data={"train": [{"configMap": {"name": "rows", "key": "train.jsonl"}}]}))


def test_early_stopping_needs_validation_rows(tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", *numbered(0, 3))
    with pytest.raises(InputError, match=r"regularization\.earlyStopping: there are no validation rows to evaluate; give data\.validation"):
        prepared(train_config(data={"train": [source(train)]}, regularization={"earlyStopping": {}}))


def test_a_faulty_dictionary_is_reported_before_rows_are_read(tmp_path: Path) -> None:
    (tmp_path / "words.tsv").write_text("car automobile\n")
    augmentation = {"operations": [{"wordSwap": {}}, {"synonymReplacement": {"dictionary": source(tmp_path / "words.tsv")}}]}
    with pytest.raises(InputError, match=r"augmentation\.operations\[1\]\.synonymReplacement\.dictionary: .*words\.tsv line 1 has no tab"):
        prepared(train_config(augmentation=augmentation))


def calls_to_prepare(folder: Path, rows: int) -> int:
    """Return how many functions are called until so many rows of a file are read, checked, written and split."""
    train = write_rows(folder / f"{rows}.jsonl", *numbered(0, rows))
    config = train_config(data={"train": [source(train)], "testFraction": 0.1})
    profile = cProfile.Profile()
    profile.runcall(prepare, config, folder / f"{rows}")
    return pstats.Stats(profile).total_calls  # type: ignore[attr-defined, no-any-return]


def test_four_times_as_many_rows_are_four_times_as_much_work(tmp_path: Path) -> None:
    calls_to_prepare(tmp_path, 10)  # what is imported and compiled once
    assert calls_to_prepare(tmp_path, 2000) < 4.1 * calls_to_prepare(tmp_path, 500)


def disjoint(dataset: Dataset) -> bool:
    sides = [{example.prompt_key for example in side} for side in (dataset.train, dataset.validation, dataset.test)]
    return not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


def test_real_intents_are_read_and_their_leaks_found(real_data: Path) -> None:
    columns = {"prompt": "text", "completion": "category"}
    files = {name: [source(real_data / "banking77" / f"{name}.csv", columns=columns)] for name in ("train", "test")}
    dataset = prepared(train_config(data={**files, "validationFraction": 0.05}))
    assert disjoint(dataset)
    assert len(dataset.test) == 3080  # two of them differ in white space alone
    assert len(dataset.train) + len(dataset.validation) == 9996  # 10,003 rows, 7 of which stand in the test set
    assert any("7 rows were left out, because the same prompt is in data.test" in finding for finding in dataset.findings)


def test_real_word_problems_are_read_whole(real_data: Path) -> None:
    columns = {"prompt": "question", "completion": "answer"}
    files = {name: [source(real_data / "gsm8k" / f"{name}.jsonl", columns=columns)] for name in ("train", "test")}
    dataset = prepared(train_config(data=files))
    assert (len(dataset.train), len(dataset.test), dataset.findings) == (7473, 1319, ())


def of_classes(folder: Path, rows: list[tuple[str, str]], **shares: float) -> Dataset:
    path = folder / "labelled.jsonl"
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return prepared(train_config(task="text-classification", data={"train": [source(path)], **shares}))


@pytest.mark.parametrize("share", ["testFraction", "validationFraction"])
def test_a_class_whose_rows_were_all_drawn_to_be_held_out_is_learned_with_all_rows_of_their_texts(tmp_path: Path, share: str) -> None:
    rows = [(f"text {number}", "ab"[number % 2]) for number in range(40)]
    plain = of_classes(tmp_path, rows, **{share: 0.3})
    drawn = [row.text for row in (*plain.test, *plain.validation)]
    assert (len(drawn) > 5, plain.findings) == (True, ())
    rare = {drawn[0]: "tax", drawn[-1]: "legal", drawn[2]: "tax"}
    rows = [(text, rare.get(text, label)) for text, label in rows] + [(drawn[0], "a")]

    dataset = of_classes(tmp_path, rows, **{share: 0.3})

    assert [row.text for row in (*dataset.test, *dataset.validation)] == [text for text in drawn if text not in rare]
    assert [(row.text, row.answer) for row in dataset.train] == [row for row in rows if row[0] not in drawn or row[0] in rare]
    assert dataset.findings == (
        f"data.train: 4 rows drawn by {share} to be held out will be learned, because no other row has the class: 'legal' and 'tax'",
    )


def test_a_share_of_rows_that_all_have_classes_of_their_own_is_refused(tmp_path: Path) -> None:
    rows = [(f"text {number}", f"class {number}") for number in range(20)]
    with pytest.raises(InputError, match=r"^data\.testFraction: no row is left to hold out: .*; give more training rows of each class, or"):
        of_classes(tmp_path, rows, testFraction=0.2)
