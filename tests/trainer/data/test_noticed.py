"""What was found, used or not read in a source is said, with how many rows it concerns."""

from typing import Any

import pytest

from tests.trainer.fixtures.stored import examples_of
from trainer.data.noticed import Noticed, Remark
from trainer.data.records import Record
from trainer.tasks.base import Task
from trainer.tasks.chat import CHAT
from trainer.tasks.language_modeling import LANGUAGE_MODELING

FIELD = "data.train[0]"


def findings(*rows: dict[str, Any], task: Task[Any] = CHAT, **columns: Any) -> list[str]:
    records = [Record(f"line {number}", row) for number, row in enumerate(rows, start=1)]
    return examples_of(records, columns, task=task)[1].findings(FIELD)


def test_rows_of_the_usual_form_are_nothing_to_speak_of() -> None:
    assert findings({"prompt": "a", "completion": "b", "id": "x1", "row_id": "7", "lang": "en", "n": 5, "empty": " "}) == []
    assert findings({"prompt": "a", "completion": "b", "weight": "1.00"}) == []
    assert findings({"text": "a", "url": "http://a"}, task=LANGUAGE_MODELING) == []


def test_text_that_nothing_reads_is_said_with_how_often_it_stands_there() -> None:
    fix = "name it in columns if the model should see it, else in columns.ignore"
    row = {"prompt": "a", "completion": "b"}
    assert findings({**row, "hint": "c", "notes": ["d"]}, {**row, "hint": None}, {**row, "hint": "e"}) == [
        f"data.train[0]: 'hint' contains text in 2 of 3 rows and is not read; {fix}",
        f"data.train[0]: 'notes' contains text in 1 of 3 rows and is not read; {fix}",
    ]
    assert findings({**row, "hint": "c"}, ignore=["hint"]) == []


@pytest.mark.parametrize("name", ["source", "version", "meta", "category"])
def test_a_column_is_not_passed_over_for_its_name_where_it_holds_long_texts(name: str) -> None:
    article = "The river rises in the mountains and ends in the sea."
    rows = [{"prompt": f"p{number}", "completion": "c", name: article} for number in range(3)]
    (said,) = findings(*rows)
    assert said.startswith(f"data.train[0]: {name!r} contains text in 3 of 3 rows and is not read;")
    assert findings(*rows[:1], *({**row, name: "wiki"} for row in rows)) == []
    assert findings({**rows[0], name: f"https://example.org/{'a' * 50}"}) == []


def test_columns_that_were_found_or_used_by_default_are_said() -> None:
    rows = [{"instruction": "a", "input": "b", "output": "c", "system": "d"}, {"instruction": "e", "input": "", "output": "f"}]
    assert findings(*rows) == [
        "data.train[0]: the job names no columns; 'instruction' as prompt and 'output' as completion are read",
        "data.train[0]: 'input' is written after 'instruction', with a blank line between, in 1 of 2 rows;"
        " columns.ignore: [input] leaves it out",
        "data.train[0]: 'system' is the system message in 1 of 2 rows; columns.ignore: [system] leaves it out",
    ]
    assert findings(rows[0], prompt="instruction", completion="output", system="system", ignore=["input"]) == []


def test_earlier_turns_are_said() -> None:
    (said,) = findings({"prompt": "a", "completion": "b", "history": [["c", "d"]]})
    assert said.startswith("data.train[0]: 'history' is read as the turns before the prompt in 1 of 1 row;")


def test_what_a_task_remarks_names_each_thing_with_its_rows() -> None:
    remark, noticed = Remark("lines have odd marks: ", after="; they are kept"), Noticed(rows=3)
    for names in ({"{b}", "a"}, set[str](), {"a"}):
        noticed.remark(remark, names)
    assert noticed.findings(FIELD) == ["data.train[0]: lines have odd marks: 'a' (in 2 of 3 rows), '{b}' (in 1 of 3 rows); they are kept"]
