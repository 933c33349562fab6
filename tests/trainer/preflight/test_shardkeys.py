"""The key of tokens changes with everything that they depend on, and with nothing that using a tokenizer does to it."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune.api.tasks import TaskName
from tests.repository import REPOSITORY
from tests.trainer.fixtures.tokenizers import byte_tokenizer, trained_tokenizer
from trainer.preflight.shardkeys import ENCODING_ROOMS, digest_of_code, tokenizer_digest


def test_a_tokenizer_has_the_same_digest_before_and_after_a_call() -> None:
    """A tokenizer.json may hold truncation and padding, which the first call resets."""
    fresh, called = byte_tokenizer(), byte_tokenizer()
    for tokenizer in (fresh, called):
        tokenizer.backend_tokenizer.enable_truncation(4)
        tokenizer.backend_tokenizer.enable_padding(length=8)
    assert len(called("more than four letters")["input_ids"]) > 8
    assert called.backend_tokenizer.to_str() != fresh.backend_tokenizer.to_str()
    assert tokenizer_digest(called) == tokenizer_digest(fresh)


def changed(tokenizer: Any, **values: Any) -> Any:
    other = copy.deepcopy(tokenizer)
    for name, value in values.items():
        setattr(other, name, value)
    return other


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(trained_tokenizer(None), id="another vocabulary"),
        pytest.param(byte_tokenizer(bos="<s>"), id="another special token"),
        pytest.param(changed(byte_tokenizer(), chat_template="x"), id="another chat template"),
        pytest.param(changed(byte_tokenizer(), split_special_tokens=True), id="special tokens are split"),
    ],
)
def test_another_tokenizer_has_another_digest(other: Any) -> None:
    assert tokenizer_digest(other) != tokenizer_digest(byte_tokenizer())


def merging(folder: Path, *merges: str) -> Any:
    """Return a tokenizer written in Python whose vocabulary has more pairs than it merges."""
    from transformers import CTRLTokenizer

    folder.mkdir()
    words = ["<unk>", "a@@", "b@@", "c@@", "a", "b", "c", "ab@@", "bc", "ab", "abc"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("\n".join(["#version", *merges, ""]))
    return CTRLTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))


def test_merges_of_a_tokenizer_written_in_python_are_in_its_digest(tmp_path: Path) -> None:
    first, second = merging(tmp_path / "1", "a b", "b c</w>"), merging(tmp_path / "2", "b c</w>", "a b")
    assert not first.is_fast
    assert first.get_vocab() == second.get_vocab()
    assert first("abc")["input_ids"] != second("abc")["input_ids"]
    for tokenizer in (first, second):
        tokenizer.init_kwargs = {}  # the paths differ too
    assert tokenizer_digest(first) != tokenizer_digest(second)


def test_a_change_of_the_code_between_row_and_tokens_changes_its_digest(tmp_path: Path) -> None:
    for room in (*ENCODING_ROOMS, "engine"):
        (tmp_path / room / "below").mkdir(parents=True)
        (tmp_path / room / "below" / "a.py").write_text("a")
    seen = [digest_of_code(tmp_path)]
    (tmp_path / "engine" / "below" / "a.py").write_text("b")
    assert digest_of_code(tmp_path) == seen[0]
    for room in ENCODING_ROOMS:
        (tmp_path / room / "below" / "a.py").write_text("b")
        seen.append(digest_of_code(tmp_path))
    (tmp_path / "text" / "below" / "a.py").rename(tmp_path / "text" / "a.py")
    assert digest_of_code(tmp_path) not in seen
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("task", TaskName)
def test_a_task_tokenizes_with_no_code_that_its_keys_do_not_cover(task: TaskName) -> None:
    program = f"import sys; from trainer.tasks.registry import tasks_named; tasks_named({task.value!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    rooms = {name.split(".")[1] for name in done.stdout.split() if name.startswith("trainer.")}
    assert "data" in rooms
    assert rooms <= set(ENCODING_ROOMS)
