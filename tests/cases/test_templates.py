"""With the chat templates of the given models, rows from Arrow are those of JSON lines, and what a template drops is reported.

The given models lie outside the repository; the tests are skipped where that folder is absent.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from finetune.api.errors import InputError
from tests.builders import train_config
from tests.trainer.fixtures.examples import learned, tokenize
from tests.trainer.fixtures.stored import examples_of, prepared
from trainer.chat.turns import conversation_of
from trainer.data.records import Record

NAMES = ("channels", "chatml", "endtok", "r1", "think", "tied")
THOUGHT = "<think>\nI weigh it up\n</think>\n\n"
TALK = [
    {"role": "user", "content": "What is 1?"}, {"role": "assistant", "content": f"{THOUGHT}It is one."},
    {"role": "user", "content": "And twice that?"}, {"role": "assistant", "content": f"{THOUGHT}It is two.", "weight": 1},
]  # fmt: skip
CALL = {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]}
KEPT = {"r1": 0, "think": 1}
"""How many of two thoughts the templates show that do not show both."""


def tokenizer_of(name: str, given_cases: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(given_cases / "models" / name)


def stored(folder: Path) -> tuple[list[Any], list[Any]]:
    """Return rows as read from JSON lines and from Parquet, where another row has every key that these lack."""
    odd = [{"role": "user", "content": "Hm?", "name": "Ada"}, {"role": "assistant", "content": "Yes.", "reasoning_content": "hm"}]
    rows = [{"messages": TALK}, {"messages": odd, "tools": [{"name": "weather", "parameters": {"type": "object"}}]}]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "rows.parquet")
    assert pyarrow.parquet.read_table(folder / "rows.parquet").to_pylist()[0]["messages"][0]["reasoning_content"] is None
    lines, table = (prepared(train_config(data={"train": [{"path": str(folder / name)}]})).train for name in ("rows.jsonl", "rows.parquet"))
    return list(lines), list(table)


@pytest.mark.parametrize("name", NAMES)
def test_rows_from_arrow_have_the_tokens_of_json_lines_and_learn_what_the_template_shows(
    name: str, given_cases: Path, tmp_path: Path
) -> None:
    tokenizer, ((lines, *_), (table, *_)) = tokenizer_of(name, given_cases), stored(tmp_path)
    assert tokenize(table, tokenizer, 1000) == tokenize(lines, tokenizer, 1000)
    text = tokenizer.apply_chat_template([{key: turn[key] for key in ("role", "content")} for turn in TALK], tokenize=False)
    conversation = conversation_of(table, tokenizer)
    assert conversation.text == text
    assert list(tokenize(table, tokenizer, 1000).input_ids) == tokenizer(text, add_special_tokens=False)["input_ids"]
    kept = KEPT.get(name, 2)
    assert (conversation.kept, conversation.dropped) == (kept, 2 - kept)
    assert "".join(learned(tokenizer, tokenize(table, tokenizer, 1000))).count("I weigh it up") == kept == text.count("I weigh it up")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("messages", "tools", "words"),
    [
        pytest.param([TALK[0], CALL], None, r"messages\[1\] has tool_calls, which the model's chat template does not show", id="a call"),
        pytest.param(TALK, [{"name": "weather"}], "the row has tools, which the model's chat template does not show", id="tools"),
        pytest.param([TALK[0], {**TALK[1], "reasoning_content": "hm"}], None, "has reasoning_content, which the model's", id="a thought"),
    ],
)
def test_what_the_given_templates_cannot_show_is_refused_with_the_row(
    name: str, messages: Any, tools: Any, words: str, given_cases: Path
) -> None:
    (example,), _ = examples_of([Record("line 1", {"messages": messages, "tools": tools})])
    with pytest.raises(InputError, match=f"data.train.0. line 1: .*{words}"):
        tokenize(example, tokenizer_of(name, given_cases), 1000)
