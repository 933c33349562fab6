"""A source names a file, a folder or a pattern; what leads nowhere is reported with what is there."""

import os
from pathlib import Path

import pytest

from finetune.api.errors import InputError
from finetune.api.sources import DataFormat
from trainer.data.files import check_file, files_of

FIELD = "data.train[0]"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def labels(path: Path, wanted: DataFormat | None = None) -> list[str]:
    return [file.label for file in files_of(FIELD, path, wanted)[0]]


def test_a_file_is_itself(tmp_path: Path) -> None:
    touch(tmp_path, "a b.jsonl")
    (file,), findings = files_of(FIELD, tmp_path / "a b.jsonl", None)
    assert findings == []
    assert (file.path, file.label) == (tmp_path / "a b.jsonl", "")


def test_the_files_of_a_folder_come_in_the_order_of_their_names_without_hidden_ones(tmp_path: Path) -> None:
    touch(tmp_path, "b.csv", "a.jsonl.gz", ".hidden.jsonl", "c.PARQUET", "below/d.jsonl", "..data/a.jsonl")
    assert labels(tmp_path) == ["a.jsonl.gz", "b.csv", "c.PARQUET"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jsonl", ["a.jsonl", "b.jsonl"]),
        ("**/*.jsonl", ["a.jsonl", "b.jsonl", "below/c.jsonl", "below/deep/d.jsonl"]),
        ("**", ["a.jsonl", "b.jsonl", "below/c.jsonl", "below/deep/d.jsonl", "e.csv"]),
        ("below/**/?.jsonl", ["c.jsonl", "deep/d.jsonl"]),
        ("**/**/*.jsonl", ["a.jsonl", "b.jsonl", "below/c.jsonl", "below/deep/d.jsonl"]),
        ("[ae].*", ["a.jsonl", "e.csv"]),
        ("b*/*.jsonl", ["below/c.jsonl"]),
    ],
)
def test_a_pattern_names_the_files_that_match(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    touch(tmp_path, "b.jsonl", "a.jsonl", "below/c.jsonl", "below/deep/d.jsonl", "e.csv", ".f.jsonl", ".g/h.jsonl")
    assert labels(tmp_path / pattern) == expected


def test_a_file_that_is_really_called_like_a_pattern_is_taken(tmp_path: Path) -> None:
    touch(tmp_path, "rows [1].jsonl", "rows 1.jsonl")
    assert [file.path.name for file in files_of(FIELD, tmp_path / "rows [1].jsonl", None)[0]] == ["rows [1].jsonl"]


def test_a_pattern_may_lead_through_a_folder_and_back(tmp_path: Path) -> None:
    touch(tmp_path, "a.jsonl", "below/b.jsonl")
    found, _ = files_of(FIELD, tmp_path / "bel*" / ".." / "a.jsonl", None)
    assert [file.path.resolve() for file in found] == [tmp_path / "a.jsonl"]


def test_a_hidden_file_that_is_named_is_read(tmp_path: Path) -> None:
    touch(tmp_path, ".a.jsonl")
    assert [file.path for file in files_of(FIELD, tmp_path / ".a.jsonl", None)[0]] == [tmp_path / ".a.jsonl"]


def test_files_of_unknown_endings_are_read_where_the_format_is_given(tmp_path: Path) -> None:
    touch(tmp_path, "part-0", "part-1")
    assert labels(tmp_path, DataFormat.JSONL) == ["part-0", "part-1"]


ABOUT = ["CHANGELOG", "LICENSE-MIT.txt", "Notice.md", "README.md", "README_fr.rst", "SHA256SUMS", "_SUCCESS", "dataset_infos.json"]


def test_what_describes_the_data_of_a_folder_is_no_row_and_said(tmp_path: Path) -> None:
    touch(tmp_path, "b.jsonl", "a.jsonl", "readme.jsonl", "noticeboard.jsonl", ".gitattributes", *ABOUT)
    files, findings = files_of(FIELD, tmp_path, None)
    assert [file.label for file in files] == ["a.jsonl", "b.jsonl", "noticeboard.jsonl", "readme.jsonl"]
    assert findings == [
        f"data.train[0]: of {tmp_path} {', '.join(ABOUT[:5])}, … are not read, being documentation of the data;"
        f" a pattern such as {tmp_path}/* reads all",
        "data.train[0]: 4 files are read: a.jsonl, b.jsonl, noticeboard.jsonl, readme.jsonl",
    ]


def test_a_pattern_reads_also_what_describes_the_data(tmp_path: Path) -> None:
    touch(tmp_path, "README.md", "a.jsonl")
    assert labels(tmp_path / "*") == ["README.md", "a.jsonl"]


def test_plain_text_beside_files_of_rows_is_refused_unless_a_pattern_names_both(tmp_path: Path) -> None:
    touch(tmp_path, "a.jsonl.gz", "b.jsonl.gz", "c.csv", "notes.txt")
    assert (
        f"the folder {tmp_path} has both plain text (notes.txt) and files of rows (a.jsonl.gz);"
        f" name the files that are meant with a pattern, such as {tmp_path}/*.jsonl.gz"
    ) in fault(tmp_path)
    assert len(labels(tmp_path / "*")) == 4
    assert len(labels(tmp_path, DataFormat.TEXT)) == 4


def test_a_folder_with_documentation_alone_leads_to_the_data_below(tmp_path: Path) -> None:
    touch(tmp_path, "README.md", "data/train-0.parquet")
    said = fault(tmp_path)
    assert f"there are no files with rows in the folder {tmp_path}; the folder {tmp_path} has: README.md, data/" in said
    assert f"named by a pattern such as {tmp_path}/**/*.parquet" in said


def fault(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        files_of(FIELD, path, None)
    assert caught.value.field == FIELD
    assert caught.value.fix
    return str(caught.value)


def test_what_leads_nowhere_is_reported_with_what_is_there(tmp_path: Path) -> None:
    touch(tmp_path, "train.jsonl", "set/a/x.jsonl", "empty/.hidden", "images/a.png", "images/b.jsonl.gz")
    assert f"there is no file {tmp_path}/trian.jsonl; the folder {tmp_path} has: empty/, images/, set/, train.jsonl" in fault(
        tmp_path / "trian.jsonl"
    )
    assert f"there is no folder {tmp_path}/nowhere either" in fault(tmp_path / "nowhere/a.jsonl")
    assert f"no file matches {tmp_path}/*.csv; the folder {tmp_path} has: empty/" in fault(tmp_path / "*.csv")
    assert f"there is no folder {tmp_path}/nowhere" in fault(tmp_path / "nowhere/*.csv")
    assert f"named by a pattern such as {tmp_path}/set/**/*.jsonl" in fault(tmp_path / "set")
    assert "is empty" in fault(tmp_path / "empty")
    assert f"a.png is unknown; name the files that are meant with a pattern, such as {tmp_path}/images/*.jsonl.gz" in fault(
        tmp_path / "images"
    )


def test_links_to_nowhere_and_pipes_are_reported(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe.jsonl")
    for path in (tmp_path / "*.jsonl", tmp_path):
        assert "is a link to a file that is not there" in fault(path)
    assert "is neither a file nor a folder" in fault(tmp_path / "pipe.jsonl")


def test_what_the_system_refuses_to_look_at_is_reported(tmp_path: Path) -> None:
    assert "cannot be read: File name too long" in fault(tmp_path / ("a" * 300))


def test_where_one_file_is_wanted_a_folder_is_reported_with_what_is_in_it(tmp_path: Path) -> None:
    touch(tmp_path, "words.tsv")
    with pytest.raises(InputError, match=r"is a folder; name a file in it; the folder .* has: words\.tsv"):
        check_file(FIELD, tmp_path)
