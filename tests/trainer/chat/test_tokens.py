"""Conversations become tokens by the model's own template; the assistant's turns and their ends bear loss, nothing else does."""

import pickle
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.api.errors import InputError
from tests.trainer.fixtures.examples import chat, learned, tokenize
from tests.trainer.fixtures.tokenizers import CHATML, byte_tokenizer
from trainer.chat.template import ensure_chat_template
from trainer.chat.tokens import prompt_and_reference
from trainer.data.rows import Example, Sample

# Forms of templates that are in use, reduced to what matters here.
BRACKETS = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}"
    "{% else %}{{ raise_exception('no system role') }}{% endif %}{% endfor %}"
)
CLOSED_AT_THE_END = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
TRIMMED = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n\n{{ m['content'] | trim }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}"
)
THOUGHT_IN_THE_LAST_TURN = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
OPENS_A_THOUGHT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>{% endif %}"
)
WITHOUT_END = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"


TWO_TURNS = chat("Hi", "Hello wörld 🙂", "And?", " bye ")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param(CHATML, ["Hello wörld 🙂<|im_end|>", " bye <|im_end|>"], id="ChatML"),
        pytest.param(BRACKETS, [" Hello wörld 🙂</s>", "  bye </s>"], id="brackets"),
        pytest.param(CLOSED_AT_THE_END, ["Hello wörld 🙂<|end|>", " bye <|end|>"], id="closed at the end"),
        pytest.param(TRIMMED, ["Hello wörld 🙂<|im_end|>", "bye<|im_end|>"], id="trimmed"),
        pytest.param(
            THOUGHT_IN_THE_LAST_TURN, ["Hello wörld 🙂<|im_end|>", "<think>\n\n</think>\n\n bye <|im_end|>"], id="thought in the last turn"
        ),
        pytest.param(OPENS_A_THOUGHT, ["Hello wörld 🙂<|im_end|>", " bye <|im_end|>"], id="heading of a generation differs"),
        pytest.param(WITHOUT_END, [" Hello wörld 🙂\n", "  bye \n</s>"], id="without an end token"),
    ],
)
@pytest.mark.parametrize("fast", [True, False], ids=["with offsets", "without offsets"])
def test_exactly_the_answers_and_their_ends_bear_loss(template: str, expected: list[str], fast: bool) -> None:
    tokenizer = byte_tokenizer(template, eos="</s>", bos="<s>") if fast else slow(template)
    row = tokenize(TWO_TURNS, tokenizer, 10_000)
    assert learned(tokenizer, row) == expected
    assert not row.truncated
    words = "".join(expected)
    for special in ("<|im_end|>", "<|end|>", "</s>"):
        words = words.replace(special, "")
    assert row.loss_bytes == pytest.approx(len(words.encode()), abs=1)  # a line break between two end tokens may count


def slow(template: str) -> Any:
    """Return the byte tokenizer, hiding that it knows where a token stands."""
    tokenizer = byte_tokenizer(template, eos="</s>", bos="<s>")

    class Slow(type(tokenizer)):  # type: ignore[misc]
        is_fast = False

    tokenizer.__class__ = Slow
    return tokenizer


def test_the_beginning_of_sequence_token_stands_once() -> None:
    tokenizer = byte_tokenizer(BRACKETS, eos="</s>", bos="<s>")
    assert tokenize(TWO_TURNS, tokenizer, 1000).input_ids.count(tokenizer.bos_token_id) == 1
    assert prompt_and_reference(TWO_TURNS, tokenizer)[0].count(tokenizer.bos_token_id) == 1


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30).filter(str.strip)


@settings(max_examples=100)
@given(st.lists(WORDS, min_size=2, max_size=6).filter(lambda turns: len(turns) % 2 == 0))
def test_any_words_are_learned_whole(tokenizer: Any, turns: list[str]) -> None:
    row = tokenize(chat(*turns), tokenizer, 100_000)
    assert learned(tokenizer, row) == [f"{answer}<|im_end|>" for answer in turns[1::2]]
    assert row.loss_bytes == sum(len(answer.encode()) for answer in turns[1::2])
    assert not row.loss_mask[0]


@settings(max_examples=50)
@given(st.lists(WORDS, min_size=2, max_size=6).filter(lambda turns: len(turns) % 2 == 0))
def test_a_prompt_is_what_the_row_has_before_the_last_answer(tokenizer: Any, turns: list[str]) -> None:
    example = chat(*turns)
    row = tokenize(example, tokenizer, 100_000)
    prompt, reference = prompt_and_reference(example, tokenizer)
    assert list(row.input_ids[: len(prompt)]) == prompt
    assert not row.loss_mask[len(prompt) - 1]
    assert row.loss_mask[len(prompt)]
    assert reference == turns[-1].strip()
    assert tokenizer.decode(prompt).endswith(f"user\n{turns[-2]}<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize("length", [1, 12, 30, 40, 45, 59])
def test_a_long_row_is_cut_and_counts_the_bytes_that_are_left(tokenizer: Any, length: int) -> None:
    example = chat("Hi", "Hello wörld 🙂", "And?", "bye")
    whole, row = tokenize(example, tokenizer, 10_000), tokenize(example, tokenizer, length)
    assert row.truncated
    assert (row.input_ids, row.loss_mask) == (whole.input_ids[:length], whole.loss_mask[:length])
    left = "".join(learned(tokenizer, row)).replace("<|im_end|>", "").replace("\ufffd", "")
    assert row.loss_bytes == pytest.approx(len(left.encode()), abs=4)  # a character may be cut in two


def test_a_refusal_of_the_template_is_reported_with_the_row() -> None:
    with pytest.raises(InputError, match=r"data\.train\[0\] line 7: the model's chat template refuses .*: no system role; change"):
        tokenize(chat("a", "b", system="s", origin="data.train[0] line 7"), byte_tokenizer(BRACKETS, eos="</s>", bos="<s>"), 100)


def test_a_template_that_hides_answers_is_refused() -> None:
    template = "{% for m in messages %}{{ loop.index if add_generation_prompt else m['role'] }}{% endfor %}"
    with pytest.raises(InputError, match="an answer cannot be separated from the rest"):
        tokenize(chat("a", "zzz"), byte_tokenizer(template), 100)


def test_a_tokenizer_without_template_gets_a_plain_one() -> None:
    tokenizer = byte_tokenizer(None, eos="</s>", bos="<s>")
    example = chat("Hi", "Hello", "And?", "bye", system="Be brief.")
    before = tokenize(example, tokenizer, 1000)
    assert tokenizer.decode(before.input_ids) == "<s>Be brief.\n\nUser: Hi\nAssistant: Hello</s>\nUser: And?\nAssistant: bye</s>\n"
    assert learned(tokenizer, before) == [" Hello</s>", " bye</s>"]
    assert tokenizer.decode(prompt_and_reference(example, tokenizer)[0]).endswith("User: And?\nAssistant:")
    assert ensure_chat_template(tokenizer)
    assert tokenize(example, tokenizer, 1000) == before
    assert not ensure_chat_template(tokenizer)


def by_hand(tokenizer: Any, example: Example, default_system: str) -> tuple[list[int], list[bool]]:
    """Return tokens and mask of a ChatML conversation, written down from the format's definition, without its template."""
    start, end = (tokenizer.convert_tokens_to_ids(token) for token in ("<|im_start|>", "<|im_end|>"))
    messages = [(message.role, message.content) for message in example.messages]
    if messages[0][0] != "system":
        messages = [("system", default_system), *messages]
    ids: list[int] = []
    mask: list[bool] = []
    for role, content in messages:
        heading = [start, *tokenizer.encode(f"{role}\n", add_special_tokens=False)]
        words = [*tokenizer.encode(content, add_special_tokens=False), end]
        ids += [*heading, *words, *tokenizer.encode("\n", add_special_tokens=False)]
        mask += [False] * len(heading) + [role == "assistant"] * len(words) + [False]
    return ids, mask


@pytest.mark.parametrize(
    "example",
    [
        chat("What is a FineTuneJob?", "A resource."),
        chat("Hi", "Hello wörld 🙂", "And 1234?", "    bye  now", system="Be brief."),
        chat("日本語で?", "はい。\n\n```python\nprint('x')\n```", "x", "y"),
    ],
    ids=["one turn", "two turns with system", "other scripts"],
)
def test_the_quickstarts_model_sees_what_its_format_defines(smollm2: Any, example: Example) -> None:
    row = tokenize(example, smollm2, 4096)
    ids, mask = by_hand(smollm2, example, "You are a helpful AI assistant named SmolLM, trained by Hugging Face")
    assert list(row.input_ids) == ids
    assert list(row.loss_mask) == mask
    assert smollm2.pad_token_id == smollm2.eos_token_id == row.input_ids[-2]  # and yet it is learned
    assert row.loss_bytes == sum(len(turn.content.encode()) for turn in example.messages if turn.role == "assistant")


def test_a_token_takes_few_bytes() -> None:
    """Every rank holds all rows."""
    ids, mask = list(range(1000, 11_000)), [True] * 10_000
    tracemalloc.start()
    row = Sample("row", ids, mask, loss_bytes=10, truncated=False, tail=0)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 6 * len(ids)
    assert list(row.input_ids) == ids
    assert pickle.loads(pickle.dumps(row)) == row
