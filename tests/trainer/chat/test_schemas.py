"""Function schemas of every form reach the model unchanged, from JSON lines and from Parquet, and calls of them are learned."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from tests.builders import train_config
from tests.trainer.fixtures import tooltemplates
from tests.trainer.fixtures.examples import learned, tokenize
from tests.trainer.fixtures.schemas import CALLED
from tests.trainer.fixtures.stored import prepared
from tests.trainer.fixtures.tokenizers import trained_tokenizer
from trainer.chat.turns import conversation_of


def row(number: int, **forms: Any) -> dict[str, Any]:
    """Return a conversation that calls one of the functions; `text`: with JSON in place of objects."""
    schema, arguments = CALLED[number]
    call = {"name": schema["name"], "arguments": json.dumps(arguments) if forms.get("text") else arguments}
    tools = [{"type": "function", "function": schema}]
    return {
        "messages": [
            {"role": "user", "content": f"Question {number}?"},
            {"role": "assistant", "tool_calls": [{"id": f"call0000{number}", "type": "function", "function": call}]},
        ],
        "tools": json.dumps(tools) if forms.get("text") else tools,
    }


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


NUMBERS = range(len(CALLED))
FORMS: list[Any] = [
    pytest.param("rows.jsonl", {}, NUMBERS, id="JSON lines"),
    pytest.param("rows.jsonl", {"text": True}, NUMBERS, id="JSON in JSON lines"),
    pytest.param("rows.parquet", {"text": True}, NUMBERS, id="JSON in Parquet"),
    # One type a column: a list of types beside a type, and an empty schema of items, cannot be in one table with the others.
    pytest.param("rows.parquet", {}, [0, 1, 2], id="Parquet"),
]


@pytest.mark.parametrize(("file", "forms", "numbers"), FORMS)
def test_schemas_are_shown_and_calls_learned_as_the_row_has_them(file: str, forms: Any, numbers: list[int], tmp_path: Path) -> None:
    path = write(tmp_path / file, [row(number, **forms) for number in numbers])
    examples = {example.messages[0].content: example for example in prepared(train_config(data={"train": [{"path": str(path)}]})).train}
    tokenizer = trained_tokenizer(tooltemplates.HERMES, eos="<|im_end|>")
    assert len(examples) == len(numbers)
    for number in numbers:
        example, (schema, arguments) = examples[f"Question {number}?"], CALLED[number]
        text = conversation_of(example, tokenizer).text
        (shown,) = re.findall(r"<tools>\n(.*)\n</tools>", text)
        assert json.loads(shown) == {"type": "function", "function": schema}
        (span,) = learned(tokenizer, tokenize(example, tokenizer, 100_000))
        (call,) = re.findall(r"^<tool_call>\n(.*)\n</tool_call><\|im_end\|>$", span)
        assert json.loads(call) == {"name": schema["name"], "arguments": arguments}
        if file == "rows.jsonl":
            assert shown == json.dumps({"type": "function", "function": schema}, ensure_ascii=False)
            assert call == json.dumps({"name": schema["name"], "arguments": arguments}, ensure_ascii=False)
