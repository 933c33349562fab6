"""docs/fields.md is what the models give, and a reader finds every field in it."""

import re
from pathlib import Path

import pytest

from finetune.api import reference
from finetune.api.fielddocs import document_resource
from tests.repository import REPOSITORY


def test_the_committed_reference_is_the_one_that_the_models_give() -> None:
    assert reference.main(["--check"]) == 0


def test_check_fails_with_the_fix_when_the_copy_is_missing_or_has_drifted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "README.md").write_text((REPOSITORY / "README.md").read_text())
    assert reference.main(["--check", "--root", str(tmp_path)]) == 1
    assert reference.main(["--write", "--root", str(tmp_path)]) == 0
    assert reference.main(["--check", "--root", str(tmp_path)]) == 0
    (tmp_path / reference.REFERENCE).write_text("something else")
    assert reference.main(["--check", "--root", str(tmp_path)]) == 1
    assert "--write" in capsys.readouterr().err


def test_the_readmes_table_of_tasks_is_written_between_its_marks_and_nothing_else_is_touched() -> None:
    readme = f"before\n{reference.TASKS_BEGIN}old\n{reference.TASKS_END}after\n"
    written = reference.with_tasks(readme)
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert "old" not in written
    assert "| `chat` |" in written
    assert "| likelihood | perplexity and bitsPerByte |" in written
    with pytest.raises(ValueError, match="substring"):
        reference.with_tasks("a README without the marks")


def test_every_object_has_a_section_and_every_field_a_row_in_the_section_or_in_the_one_it_refers_to() -> None:
    sections = dict(re.findall(r"^##+ (\S+)\n(.*?)(?=^##|\Z)", reference.reference(), flags=re.MULTILINE | re.DOTALL))
    resource = document_resource()
    objects = [field for field in resource.below() if field.members and field.path]
    for field in objects:
        if field.path not in sections:
            parent = field.path.rsplit(".", 1)[0]
            assert "The same fields as" in _nearest(sections, parent)
            continue
        text = sections[field.path]
        if "The same fields as" not in text:
            assert set(re.findall(r"^\| \**(\w+)\** \|", text, flags=re.MULTILINE)) - {"field"} == {member.name for member in field.members}


def _nearest(sections: dict[str, str], path: str) -> str:
    while path not in sections:
        path = path.rsplit(".", 1)[0]
    return sections[path]


def test_references_within_the_document_lead_to_a_heading() -> None:
    text = reference.reference()
    anchors = {re.sub(r"[^a-z0-9-]", "", heading.lower()) for heading in re.findall(r"^##+ (\S+)$", text, flags=re.MULTILINE)}
    links = set(re.findall(r"\(#([^)]+)\)", text))
    assert links
    assert links <= anchors


def test_every_row_of_a_table_has_five_cells() -> None:
    rows = [line for line in reference.reference().splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}
