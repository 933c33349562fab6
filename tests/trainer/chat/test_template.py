"""The date that a template writes is that of the run, on every day and in every process."""

from datetime import datetime
from typing import Any

import pytest

from finetune.api.errors import InputError
from tests.trainer.fixtures import templates
from tests.trainer.fixtures.examples import chat, conversation, tokenize
from tests.trainer.fixtures.tokenizers import trained_tokenizer
from trainer.chat.example import Message
from trainer.chat.template import pin_time, reads_clock


def shown(tokenizer: Any) -> str:
    return str(tokenizer.decode(tokenize(chat("Hi", "Hello"), tokenizer, 1000).input_ids))


@pytest.mark.parametrize(("template", "day"), [(templates.LLAMA3, "05 Mar 2024"), (templates.HARMONY, "2024-03-05")])
def test_a_template_shows_the_pinned_day(template: str, day: str) -> None:
    tokenizer = trained_tokenizer(template)
    assert reads_clock(tokenizer)
    assert day not in shown(tokenizer)
    pin_time(tokenizer, "2024-03-05T23:59:58")
    assert day in shown(tokenizer)


def test_another_tokenizer_of_the_same_template_keeps_its_own_day() -> None:
    one, other, free = (trained_tokenizer(templates.LLAMA3) for _ in range(3))
    pin_time(one, "2024-03-05T00:00:00")
    pin_time(other, "2025-07-06T00:00:00")
    assert "05 Mar 2024" in shown(one)
    assert "06 Jul 2025" in shown(other)
    assert str(datetime.now().astimezone().year) in shown(free)
    assert "05 Mar 2024" in shown(one)


def test_a_template_without_a_date_reads_no_clock() -> None:
    assert not reads_clock(trained_tokenizer(templates.GEMMA))
    assert not reads_clock(trained_tokenizer(None))


def test_of_several_templates_the_one_for_tools_is_used_where_a_row_has_tools() -> None:
    tokenizer = trained_tokenizer(None)
    tokenizer.chat_template = {"default": templates.GEMMA, "tool_use": templates.QWEN3}
    assert "<start_of_turn>model\nHello<end_of_turn>" in shown(tokenizer)
    row = conversation(Message("user", "Hi"), Message("assistant", "Hello"), tools='[{"name": "weather"}]')
    assert "# Tools" in tokenizer.decode(tokenize(row, tokenizer, 1000).input_ids)


@pytest.mark.parametrize(
    ("template", "row", "words"),
    [
        pytest.param(
            templates.GEMMA,
            conversation(Message("user", "a"), Message("user", "b"), Message("assistant", "c"), origin="data.train[0] line 3"),
            "must alternate",
            id="roles",
        ),
        pytest.param(
            "{% if messages[0]['role'] != 'system' %}{{ raise_exception('a system message is needed') }}{% endif %}"
            "{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}",
            chat("a", "b", origin="data.train[0] line 3"),
            "a system message is needed",
            id="a system message",
        ),
        pytest.param(
            "{% if add_generation_prompt %}{{ raise_exception('no prompts') }}{% endif %}"
            "{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}",
            chat("a", "b", origin="data.train[0] line 3"),
            "no prompts",
            id="only where an answer is asked for",
        ),
    ],
)
def test_what_a_template_refuses_is_reported_in_its_own_words_with_the_row(template: str, row: Any, words: str) -> None:
    with pytest.raises(InputError, match=rf"data\.train\[0\] line 3: the model's chat template refuses the conversation: .*{words}"):
        tokenize(row, trained_tokenizer(template), 1000)
