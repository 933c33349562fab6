"""A file is cut into documents, lists are opened, and what cannot be read is reported with its line."""

from pathlib import Path

import pytest

from finetune.api.errors import BadInputError
from finetune.cli.jobfile.documents import LARGEST_FILE, read_documents

POD = "apiVersion: v1\nkind: Pod\n"


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "file.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(folder: Path, content: str | bytes) -> list[str]:
    return [document["kind"] for document in read_documents(written(folder, content)).objects]


def refusal(folder: Path, content: str | bytes) -> str:
    with pytest.raises(BadInputError) as raised:
        read(folder, content)
    return str(raised.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(f"# c\n---\n---\n{POD}---\n# d\n", id="empty documents"),
        pytest.param(POD.replace("\n", "\r\n"), id="crlf"),
        pytest.param(b"\xef\xbb\xbf" + POD.encode(), id="byte order mark"),
        pytest.param(POD.encode("utf-16"), id="utf-16"),
        pytest.param(POD.encode() + b"# f\xfcr alle\n", id="latin-1 in a comment"),
        pytest.param('{"apiVersion": "v1", "kind": "Pod"}', id="json"),
        pytest.param("apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod}\n", id="list"),
        pytest.param("apiVersion: v1\nkind: PodList\nitems:\n- {}\n", id="list that names the kind"),
    ],
)
def test_the_object_is_found(tmp_path: Path, content: str | bytes) -> None:
    assert read(tmp_path, content) == ["Pod"]


def test_json_objects_may_follow_each_other(tmp_path: Path) -> None:
    assert read(tmp_path, '{"apiVersion": "v1", "kind": "A"}\n{"apiVersion": "v1", "kind": "B"}') == ["A", "B"]


def test_text_that_is_never_read_is_listed(tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_text(f"{POD}...\nmore: [\n")
    assert read_documents(tmp_path / "file.yaml").without_effect == ["the text from line 4 on, after '...'"]


def test_many_json_objects_are_each_found(tmp_path: Path) -> None:
    assert len(read_documents(written(tmp_path, '{"kind": "A"}\n' * 50_000)).objects) == 50_000


def test_a_file_of_weights_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "file.yaml").open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(BadInputError, match="is too large for a job file; give the YAML file that holds the FineTuneJob"):
        read_documents(tmp_path / "file.yaml")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(f"{POD}---\na: [1\n", "file.yaml:4:4: is not YAML: [ is not closed", id="line of the file"),
        pytest.param(
            f"--- {POD}", "file.yaml:1:4: is not YAML: there is text on the line of ---; start it on the next line", id="separator"
        ),
        pytest.param(POD.encode() + b"a: f\xfcr\n", "file.yaml:3: is not UTF-8 text; save the file as UTF-8", id="latin-1"),
        pytest.param("apiVersion: v1\nitems: []\n", "file.yaml: document 1: has items and no kind; write kind: List", id="no kind"),
        pytest.param("- a\n", "file.yaml: document 1 is not an object", id="a list of yaml"),
        pytest.param("apiVersion: v1\nkind: List\nitems: [3]\n", "file.yaml: document 1: items is not a list of", id="items"),
        pytest.param(
            '{"apiVersion": "v1", "kind": "A", "kind": "B"}', "file.yaml:1:35: is not YAML: the key 'kind' is given twice", id="json"
        ),
    ],
)
def test_what_cannot_be_read_is_reported_with_its_line(tmp_path: Path, content: str | bytes, expected: str) -> None:
    assert refusal(tmp_path, content).startswith(expected)
