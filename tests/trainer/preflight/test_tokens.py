"""Rows are tokenized once: another start with the same rows, tokenizer and length takes what is there, any other does not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.builders import train_config
from tests.trainer.fixtures import templates
from tests.trainer.fixtures.examples import chat, dataset
from tests.trainer.fixtures.learned import causal_task
from tests.trainer.fixtures.stored import data_folder
from tests.trainer.fixtures.tokenizers import byte_tokenizer, trained_tokenizer
from trainer.data import shards
from trainer.data.rows import Example
from trainer.data.shards import IDS, Samples
from trainer.preflight.doctor import examine
from trainer.preflight.shardkeys import shard_keys
from trainer.preflight.tokens import Tokens, found_earlier, on_disk, write_tokens
from trainer.tasks.chat import CHAT

ROWS = [chat(f"question {number}", f"answer {number}") for number in range(5)]


def start(
    folder: Path,
    *,
    rows: Sequence[Example] = ROWS,
    tokenizer: Any = None,
    day: str | None = None,
    task: str = "chat",
    **training: Any,
) -> tuple[Tokens, tuple[str, ...]]:
    """Return the tokens of a start, and the data sets whose tokens it found."""
    data, tokenizer = data_folder(folder), tokenizer or byte_tokenizer()
    data.keep()
    wanted = train_config(task=task, training={"epochs": 1, "maxSequenceLength": 64, **training})
    rows_of_all = dataset(list(rows), test=ROWS[:2])
    keys = shard_keys(causal_task(wanted), wanted, rows_of_all, tokenizer, day)
    return write_tokens(causal_task(wanted), wanted, rows_of_all, tokenizer, data, keys), found_earlier(rows_of_all, data, keys)


def test_the_tokens_are_those_of_the_rows(tmp_path: Path) -> None:
    written, found = start(tmp_path)
    tokenizer = byte_tokenizer()
    assert list(Samples(written.train)) == [CHAT.encode(row, tokenizer, 64)[0].tokens for row in ROWS]
    assert (len(Samples(written.validation)), len(Samples(written.test)), found) == (0, 2, ())


def test_a_second_start_tokenizes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = start(tmp_path)
    monkeypatch.setattr("trainer.chat.tokens.conversation_of", lambda *_: pytest.fail("a row was tokenized"))
    second, found = start(tmp_path)
    assert found == ("data.train", "data.test")
    assert list(Samples(second.train)) == list(Samples(first.train))


def test_a_second_start_reports_what_the_first_found_and_reads_no_conversation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    thought = chat("What is A?", "<think>\nhm\n</think>\n\nIt is A.", "And <|im_end|>?", "<think>\nhm\n</think>\n\nNo.")
    rows, tokenizer, data = dataset([*ROWS, thought, ROWS[0]], test=[thought]), trained_tokenizer(templates.LFM2_5), data_folder(tmp_path)
    wanted = train_config(evaluation={"metrics": ["perplexity"]})
    data.keep()
    keys = shard_keys(causal_task(wanted), wanted, rows, tokenizer)
    first = examine(causal_task(wanted), rows, tokenizer, wanted, keep=on_disk(data, keys))
    assert sum("leaves out thoughts" in found or "names of control tokens" in found for found in first) == 4
    monkeypatch.setattr("trainer.chat.tokens.conversation_of", lambda *_: pytest.fail("a conversation was read"))
    assert examine(causal_task(wanted), rows, tokenizer, wanted, keep=on_disk(data_folder(tmp_path), keys)) == first


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({}, {"rows": ROWS[:4]}, id="other rows"),
        pytest.param({}, {"rows": ROWS[::-1]}, id="another order"),
        pytest.param({}, {"maxSequenceLength": 32}, id="another length"),
        pytest.param({}, {"tokenizer": byte_tokenizer(bos="<s>")}, id="another special token"),
        pytest.param({}, {"tokenizer": byte_tokenizer("x" + byte_tokenizer().chat_template)}, id="another chat template"),
        pytest.param({"day": "2024-03-05T10:00:00"}, {"day": "2025-03-05T10:00:00"}, id="another day"),
    ],
)
def test_what_tokens_depend_on_is_in_their_name(tmp_path: Path, before: dict[str, Any], after: dict[str, Any]) -> None:
    start(tmp_path, **before)
    _, found = start(tmp_path, **after)
    assert "data.train" not in found


def test_tokens_that_no_run_needs_any_longer_are_removed(tmp_path: Path) -> None:
    start(tmp_path)
    written, _ = start(tmp_path, rows=ROWS[:3])
    kept = {written.train.folder, written.validation.folder, written.test.folder}
    assert {path for path in written.train.folder.parent.iterdir() if path.name.startswith("tokens-")} == kept


def test_a_torn_shard_is_written_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, _ = start(tmp_path)
    whole = list(Samples(first.train))
    (first.train.folder / IDS).write_bytes(b"torn")
    second, found = start(tmp_path)
    assert found == ("data.test",)
    assert list(Samples(second.train)) == whole
    assert "the rows are tokenized again" in caplog.text


def test_a_configuration_of_another_kind_is_not_asked_for(tmp_path: Path) -> None:
    """The learning rate, say, changes no token."""
    written, _ = start(tmp_path)
    again, found = start(tmp_path, epochs=7, learningRate=0.5, seed=3)
    assert found == ("data.train", "data.test")
    assert again.train.folder == written.train.folder


def test_tokens_are_read_through_once_in_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(tmp_path)
    read: list[Path] = []
    digest = shards._digest_of
    monkeypatch.setattr(shards, "_digest_of", lambda path: read.append(path) or digest(path))
    data, wanted, rows = data_folder(tmp_path), train_config(training={"epochs": 1, "maxSequenceLength": 64}), dataset(ROWS, test=ROWS[:2])
    keys = shard_keys(causal_task(wanted), wanted, rows, byte_tokenizer())
    for name, examples in rows.sides().items():
        on_disk(data, keys)(name, examples, iter(()))
    write_tokens(causal_task(wanted), wanted, rows, byte_tokenizer(), data, keys)
    assert len(read) == len(set(read)) == 3 * 3


def test_torn_tokens_are_not_announced_as_found(tmp_path: Path) -> None:
    written, _ = start(tmp_path)
    ids = written.train.folder / IDS
    ids.write_bytes(ids.read_bytes()[:-4])
    data, rows = data_folder(tmp_path), dataset(ROWS, test=ROWS[:2])
    keys = shard_keys(CHAT, train_config(training={"epochs": 1, "maxSequenceLength": 64}), rows, byte_tokenizer())
    assert found_earlier(rows, data, keys) == ("data.test",)
