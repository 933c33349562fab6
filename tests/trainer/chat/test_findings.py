"""What a template leaves out or adds is said, with the rows; where it does neither nothing is said."""

from dataclasses import replace
from typing import Any

import pytest

from finetune.api.errors import InputError
from tests.builders import train_config
from tests.trainer.fixtures import templates, tooltemplates
from tests.trainer.fixtures.examples import chat, conversation, dataset, text
from tests.trainer.fixtures.learned import causal_task
from tests.trainer.fixtures.tokenizers import trained_tokenizer
from trainer.chat.example import Call, Message
from trainer.chat.template import pin_time
from trainer.data.rows import Example
from trainer.preflight.doctor import examine


def said(tokenizer: Any, *rows: Example) -> list[str]:
    """Return what the doctor says of these rows, but for missing held-out sets and a small batch."""
    numbered = [replace(row, origin=f"data.train[0] line {number}") for number, row in enumerate(rows, 1)]
    settings = train_config(training={"epochs": 1, "maxSequenceLength": 4096, "globalBatchSize": 1}, evaluation={"metrics": ["perplexity"]})
    return [
        finding for finding in examine(causal_task(settings), dataset(numbered), tokenizer, settings) if not finding.startswith("data.test")
    ]


ROWS = [chat(f"What is {number}?", f"It is {number}.", "And after that?", f"It is {number + 1}.") for number in range(3)]
THOUGHT = chat("What is A?", "<think>\nhm\n</think>\n\nIt is A.", "And?", "<think>\nhm\n</think>\n\nNo.")


@pytest.mark.parametrize("template", [templates.QWEN3, templates.LFM2_5, templates.HARMONY, templates.GEMMA, templates.PHI3])
def test_of_rows_that_the_template_shows_as_they_are_nothing_is_said(template: str) -> None:
    assert said(trained_tokenizer(template), *ROWS) == []


@pytest.mark.parametrize("template", [templates.QWEN3, templates.LFM2_5])
def test_thoughts_that_are_left_out_are_said(template: str) -> None:
    assert said(trained_tokenizer(template), *ROWS, THOUGHT)[:1] == [
        "data.train: in 1 of 4 rows the model's chat template leaves out thoughts, 1 of 2;"
        " only what it shows is learned (the first: data.train[0] line 4)"
    ]


def test_a_prompt_that_keeps_a_thought_which_the_answered_row_drops_is_said() -> None:
    """LFM2.5 drops all thoughts but those of the last assistant turn, which before the answer is another one than after it."""
    _, finding = said(trained_tokenizer(templates.LFM2_5), *ROWS, THOUGHT)
    assert finding.startswith(
        "data.train: in 1 of 4 rows the model's chat template shows the turns before the last answer differently"
        " in the prompt for that answer"
    )
    assert len(said(trained_tokenizer(templates.QWEN3), *ROWS, THOUGHT)) == 1


def test_a_prompt_that_opens_a_thought_which_the_rows_do_not_have_is_said() -> None:
    (finding,) = said(trained_tokenizer(templates.DEEPSEEK_R1), *ROWS)
    assert finding.startswith(
        "data.train: the model's chat template ends a prompt with '<think>', which the answers in 3 of 3 rows do not begin with"
        " (the first: data.train[0] line 1); the model is trained and evaluated without it"
    )


def test_a_prompt_that_opens_a_thought_which_the_rows_have_is_none_of_theirs() -> None:
    template = templates.QWEN3.replace(
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}",
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}",
    )
    assert template != templates.QWEN3
    row = conversation(Message("user", "Q"), Message("assistant", "A", reasoning="hm"))
    assert said(trained_tokenizer(template), row) == [
        "data.train: in 1 of 1 row the model's chat template shows every thought, 1 in all (the first: data.train[0] line 1)"
    ]


CALLS = conversation(Message("user", "Is it wet?"), Message("assistant", "", calls=(Call("weather", "{}"),)))


@pytest.mark.parametrize("template", [tooltemplates.HERMES, tooltemplates.GLM4_5, tooltemplates.HARMONY])
def test_rows_that_end_with_a_call_learn_to_stop(template: str) -> None:
    found = said(trained_tokenizer(template), CALLS)
    assert [finding for finding in found if "without a special token" in finding] == []


def test_what_is_said_beside_a_call_and_names_that_are_not_shown_are_reported() -> None:
    beside = conversation(Message("user", "And there?"), Message("assistant", "I look.", calls=(Call("weather", "{}"),)))
    assert said(trained_tokenizer(tooltemplates.LLAMA3_1), CALLS, beside) == [
        "data.train: in 1 of 2 rows the model's chat template leaves out what an answer says beside the tools that it calls,"
        " which is not learned (the first: data.train[0] line 2)"
    ]
    named = conversation(Message("user", "Is it wet?", name="Ada"), Message("assistant", "It is."))
    assert said(trained_tokenizer(tooltemplates.NAMED), named) == []
    assert said(trained_tokenizer(tooltemplates.HERMES), named) == [
        "data.train: in 1 of 1 row the model's chat template leaves out the name of a message (the first: data.train[0] line 1)"
    ]


def test_messages_and_answers_that_are_left_out_are_said() -> None:
    template = (
        "{% for m in messages %}{% if m['role'] != 'system' and loop.index0 >= messages | length - 2 %}"
        "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    row = chat("Q", "A", "more", "B", system="Be brief.")
    assert said(trained_tokenizer(template), row) == [
        "data.train: in 1 of 1 row the model's chat template leaves out a system message (the first: data.train[0] line 1)",
        "data.train: in 1 of 1 row the model's chat template leaves out an answer, which is not learned (the first: data.train[0] line 1)",
    ]


def test_a_token_that_the_template_does_not_write_is_said() -> None:
    assert said(trained_tokenizer(templates.GLM4_5), *ROWS) == [
        "model: its chat template writes no token after the last answer; <|user|> is added, so the model learns to stop"
    ]


def test_the_day_that_a_template_writes_is_said() -> None:
    tokenizer = trained_tokenizer(templates.LLAMA3)
    pin_time(tokenizer, "2024-03-05T10:00:00")
    assert said(tokenizer, *ROWS) == [
        "model: its chat template writes the date into every row; the whole run uses 2024-03-05, also when it resumes"
    ]


def test_a_row_that_only_the_prompt_is_refused_for_is_reported_before_anything_starts() -> None:
    template = (
        "{% if add_generation_prompt and messages | length > 1 %}{{ raise_exception('one question only') }}{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    with pytest.raises(InputError, match=r"data\.train\[0\] line 2: the model's chat template refuses .*: one question only"):
        said(trained_tokenizer(template), chat("Q", "A"), ROWS[0])


def test_an_earlier_turn_that_could_not_be_asked_for_is_no_reason_to_refuse() -> None:
    template = (
        "{% if add_generation_prompt and messages[-1]['role'] == 'assistant' %}{{ raise_exception('ask first') }}{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    turns = [("user", "Q"), ("assistant", "A"), ("assistant", "and more"), ("user", "Q2"), ("assistant", "B")]
    assert said(trained_tokenizer(template), conversation(*(Message(*turn) for turn in turns))) == []


def test_a_text_that_holds_a_written_conversation_is_reported_with_where_conversations_belong() -> None:
    texts = [text("<s>[INST] Hi [/INST] Hello </s>", "data.train[0] line 1")]
    settings = train_config(task="language-modeling", training={"epochs": 1, "globalBatchSize": 1})
    said = examine(causal_task(settings), dataset(texts), trained_tokenizer(None), settings)
    assert (
        "data.train: 1 row has names of control tokens in the text, such as <s> (data.train[0] line 1); they are read as text;"
        " write conversations as messages, with task: chat"
    ) in said
