"""Mask, doctor, generation and export have one notion of how a turn ends."""

from types import SimpleNamespace

import pytest

from tests.trainer.fixtures import templates
from tests.trainer.fixtures.tokenizers import byte_tokenizer, trained_tokenizer
from trainer.chat.turnend import common_beginning, ending_of, opening_ids, stop_ids


@pytest.mark.parametrize(
    ("template", "eos", "ends", "opening"),
    [
        pytest.param(templates.QWEN3, "<|im_end|>", ["<|im_end|>"], "<think>\n\n</think>\n\n", id="Qwen3"),
        pytest.param(templates.LFM2_5, "<|im_end|>", ["<|im_end|>"], "", id="LFM2.5"),
        pytest.param(templates.HARMONY, "<|return|>", ["<|end|>", "<|return|>"], "<|channel|>final<|message|>", id="gpt-oss"),
        pytest.param(templates.DEEPSEEK_R1, "<|end_of_sentence|>", ["<|end_of_sentence|>"], "", id="DeepSeek-R1"),
        pytest.param(templates.LLAMA3, "<|endoftext|>", ["<|eot_id|>"], "", id="Llama-3"),
        pytest.param(templates.GEMMA, "</s>", ["<end_of_turn>"], "", id="Gemma"),
        pytest.param(templates.PHI3, "<|endoftext|>", ["<|end|>"], "", id="Phi-3"),
        pytest.param(templates.COMMAND_R, "</s>", ["<|END_OF_TURN|>"], "<|START_RESPONSE|>", id="Command R"),
    ],
)
def test_the_token_that_ends_a_turn_follows_from_the_template(template: str, eos: str, ends: list[str], opening: str) -> None:
    tokenizer = trained_tokenizer(template, eos=eos)
    ending = ending_of(tokenizer)
    assert sorted(tokenizer.convert_ids_to_tokens(token) for token in ending.tokens) == ends
    assert (ending.opening, ending.appended) == (opening, None)


def test_where_the_next_heading_is_the_end_its_token_is_put_after_the_last_answer() -> None:
    tokenizer = trained_tokenizer(templates.GLM4_5, eos="<|endoftext|>")
    user = tokenizer.convert_tokens_to_ids("<|user|>")
    assert ending_of(tokenizer).tokens == {user}
    assert ending_of(tokenizer).appended == user


def test_where_no_token_ends_a_turn_the_end_of_sequence_is_put_after_the_last_answer() -> None:
    tokenizer = trained_tokenizer("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}")
    assert ending_of(tokenizer).appended == tokenizer.eos_token_id
    assert ending_of(tokenizer).text == "\n"


def test_an_end_that_the_template_leaves_out_after_the_last_answer_is_put_there() -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}{% if not loop.last %}<|im_end|>\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_end|>\n<|im_start|>assistant\n{% endif %}"
    )
    tokenizer = trained_tokenizer(template)
    assert ending_of(tokenizer).appended == tokenizer.convert_tokens_to_ids("<|im_end|>")


@pytest.mark.parametrize("role", ["system", None])
def test_templates_that_demand_or_refuse_a_system_message_are_read(role: str | None) -> None:
    demand = "{% if (messages[0]['role'] == 'system') != " + str(role == "system").lower() + " %}{{ raise_exception('no') }}{% endif %}"
    template = demand + "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    tokenizer = trained_tokenizer(template)
    assert ending_of(tokenizer).tokens == {tokenizer.convert_tokens_to_ids("<|im_end|>")}


def test_a_template_that_refuses_everything_ends_with_the_end_of_sequence() -> None:
    tokenizer = trained_tokenizer("{{ raise_exception('never') }}")
    assert ending_of(tokenizer).tokens == {tokenizer.eos_token_id}


def test_generation_stops_at_the_ends_of_model_tokenizer_and_turn() -> None:
    tokenizer = trained_tokenizer(templates.LLAMA3, eos="<|endoftext|>")
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=[5, 7]))
    ends = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|eot_id|>"])
    assert stop_ids(model, tokenizer) == sorted([5, 7, *ends])


def test_generation_does_not_stop_between_thoughts_and_answer() -> None:
    tokenizer = trained_tokenizer(templates.HARMONY, eos="<|return|>")
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=None))
    assert stop_ids(model, tokenizer) == [tokenizer.convert_tokens_to_ids("<|return|>")]


@pytest.mark.parametrize("change", ["capitalize", "title", "upper"])
def test_what_a_template_puts_before_an_answer_holds_no_word_of_the_answer(change: str) -> None:
    template = templates.QWEN3.replace("content.lstrip('\\n')", f"content.lstrip('\\n') | {change}").replace(
        "m.role + '\\n' + m.content", f"m.role + '\\n' + (m.content | {change})"
    )
    assert change in template
    assert ending_of(trained_tokenizer(template, eos="<|im_end|>")).opening == "<think>\n\n</think>\n\n"


def test_another_template_of_the_same_tokenizer_has_its_own_ending() -> None:
    tokenizer = trained_tokenizer(templates.GEMMA)
    before = ending_of(tokenizer).tokens
    tokenizer.chat_template = templates.QWEN3
    assert ending_of(tokenizer).tokens != before
    assert tokenizer.decode(opening_ids(tokenizer)) == "<think>\n\n</think>\n\n"


def test_a_tokenizer_without_a_template_writes_no_turns() -> None:
    tokenizer = byte_tokenizer(None, eos="</s>")
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=None))
    assert stop_ids(model, tokenizer) == [tokenizer.eos_token_id]
    assert opening_ids(tokenizer) == []


@pytest.mark.parametrize(
    ("text", "wanted", "length"),
    [
        ("<|im_end|>\n<|im_start|>assistant\nA", "<|im_end|>\n<|im_start|>assistant\n", 33),
        ("<|Assistant|><b>", "<|Assistant|><think>\n", 13),
        ("<|Assistant|>", "<|Assistant|><think>\n", 13),
        ("user", "users", 0),
        ("", "x", 0),
    ],
)
def test_what_two_headings_share_ends_at_a_whole_tag_or_word(text: str, wanted: str, length: int) -> None:
    assert common_beginning(text, wanted) == length
