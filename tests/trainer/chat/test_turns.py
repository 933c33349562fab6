"""Whatever a template does with a conversation: what is learned is the turn as it is shown, with its end, and nothing else."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.api.errors import InputError
from tests.trainer.fixtures import templates
from tests.trainer.fixtures.examples import chat, conversation, learned, tokenize
from tests.trainer.fixtures.tokenizers import CONTROLS, trained_tokenizer
from trainer.chat.example import Message
from trainer.chat.tokens import prompt_and_reference
from trainer.chat.turnend import ending_of
from trainer.chat.turns import conversation_of
from trainer.data.rows import Example

QUESTION, ANSWER, SECOND_QUESTION, SECOND_ANSWER = "What is A?", " A is the first.\n", "And A after that?", "A"
TALK = chat(QUESTION, ANSWER, SECOND_QUESTION, SECOND_ANSWER)
THOUGHTS = chat(QUESTION, "<think>\nlet me see\n</think>\n\nIt is A.", SECOND_QUESTION, "<think>\nagain\n</think>\n\nA")

CLASSES = {
    "Qwen3": (templates.QWEN3, "<|im_end|>"),
    "GLM-4.5": (templates.GLM4_5, "<|endoftext|>"),
    "LFM2.5": (templates.LFM2_5, "<|im_end|>"),
    "gpt-oss": (templates.HARMONY, "<|return|>"),
    "DeepSeek-V3": (templates.DEEPSEEK_V3, "<|end_of_sentence|>"),
    "DeepSeek-R1": (templates.DEEPSEEK_R1, "<|end_of_sentence|>"),
    "Llama-3": (templates.LLAMA3, "<|endoftext|>"),
    "Gemma": (templates.GEMMA, "</s>"),
    "Phi-3": (templates.PHI3, "<|endoftext|>"),
    "Mistral": (templates.MISTRAL, "</s>"),
    "generation blocks": (templates.GENERATION_BLOCKS, "<|im_end|>"),
    "Command R": (templates.COMMAND_R, "<|END_OF_TURN|>"),
}


def tokenizer_of(name: str) -> Any:
    template, eos = CLASSES[name]
    return trained_tokenizer(template, eos=eos)


PLAIN = {
    "Qwen3": [" A is the first.\n<|im_end|>", "<think>\n\n</think>\n\nA<|im_end|>"],
    "GLM-4.5": ["\n<think></think>\nA is the first.<|user|>", "\n<think></think>\nA<|user|>"],
    "LFM2.5": [" A is the first.\n<|im_end|>", "A<|im_end|>"],
    "gpt-oss": ["<|channel|>final<|message|> A is the first.\n<|end|>", "<|channel|>final<|message|>A<|return|>"],
    "DeepSeek-V3": [" A is the first.\n<|end_of_sentence|>", "A<|end_of_sentence|>"],
    "DeepSeek-R1": [" A is the first.\n<|end_of_sentence|>", "A<|end_of_sentence|>"],
    "Llama-3": ["A is the first.<|eot_id|>", "A<|eot_id|>"],
    "Gemma": ["A is the first.<end_of_turn>", "A<end_of_turn>"],
    "Phi-3": [" A is the first.\n<|end|>", "A<|end|>"],
    "Mistral": [" A is the first.</s>", " A</s>"],
    "generation blocks": [" A is the first.\n<|im_end|>", "A<|im_end|>"],
    "Command R": ["<|START_RESPONSE|>A is the first.<|END_RESPONSE|><|END_OF_TURN|>", "<|START_RESPONSE|>A<|END_RESPONSE|><|END_OF_TURN|>"],
}


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("system", [None, "Be brief about A."], ids=["", "with a system message"])
def test_each_turn_is_learned_as_it_is_shown_with_its_end(name: str, system: str | None) -> None:
    """The answers stand in questions, headings and system messages too."""
    tokenizer = tokenizer_of(name)
    row = tokenize(chat(QUESTION, ANSWER, SECOND_QUESTION, SECOND_ANSWER, system=system), tokenizer, 10_000)
    assert learned(tokenizer, row) == PLAIN[name]


THOUGHTFUL = {
    "Qwen3": ["It is A.<|im_end|>", "<think>\nagain\n</think>\n\nA<|im_end|>"],
    "GLM-4.5": ["\n<think></think>\nIt is A.<|user|>", "\n<think>again</think>\nA<|user|>"],
    "LFM2.5": ["It is A.<|im_end|>", "<think>\nagain\n</think>\n\nA<|im_end|>"],
    "DeepSeek-R1": ["\n\nIt is A.<|end_of_sentence|>", "\n\nA<|end_of_sentence|>"],
    "Phi-3": ["<think>\nlet me see\n</think>\n\nIt is A.<|end|>", "<think>\nagain\n</think>\n\nA<|end|>"],
}


@pytest.mark.parametrize("name", THOUGHTFUL)
def test_of_thoughts_in_the_text_only_what_is_shown_is_learned(name: str) -> None:
    tokenizer = tokenizer_of(name)
    assert learned(tokenizer, tokenize(THOUGHTS, tokenizer, 10_000)) == THOUGHTFUL[name]


WITH_REASONING = {
    "Qwen3": ["It is A.<|im_end|>", "<think>\nagain\n</think>\n\nA<|im_end|>"],
    "GLM-4.5": ["\n<think></think>\nIt is A.<|user|>", "\n<think>again</think>\nA<|user|>"],
    "gpt-oss": [
        "<|channel|>final<|message|>It is A.<|end|>",
        "<|channel|>analysis<|message|>again<|end|><|start|>assistant<|channel|>final<|message|>A<|return|>",
    ],
}


@pytest.mark.parametrize("name", WITH_REASONING)
def test_thoughts_in_a_field_of_their_own_are_learned_where_the_template_shows_them(name: str) -> None:
    tokenizer = tokenizer_of(name)
    messages = [("user", QUESTION), ("assistant", "It is A.", "let me see"), ("user", SECOND_QUESTION), ("assistant", "A", "again")]
    row = tokenize(conversation(*(Message(*message) for message in messages)), tokenizer, 10_000)
    assert learned(tokenizer, row) == WITH_REASONING[name]


@pytest.mark.parametrize("name", ["LFM2.5", "Gemma", "DeepSeek-R1"])
def test_thoughts_that_the_template_passes_over_are_refused(name: str) -> None:
    row = conversation(Message("user", QUESTION), Message("assistant", "A", "let me see"))
    with pytest.raises(InputError, match=r"line 1: messages\[1\] has reasoning_content, which the model's chat template does not show"):
        tokenize(row, tokenizer_of(name), 10_000)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("row", [TALK, THOUGHTS], ids=["plain", "thoughts"])
def test_the_tokens_are_those_of_the_whole_text(name: str, row: Example) -> None:
    tokenizer = tokenizer_of(name)
    turns = [{"role": message.role, "content": message.content} for message in row.messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    expected = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = list(tokenize(row, tokenizer, 10_000).input_ids)
    assert ids[: len(expected)] == expected
    assert [tokenizer.decode(token) for token in ids[len(expected) :]] == (["<|user|>"] if name == "GLM-4.5" else [])


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("row", [TALK, THOUGHTS], ids=["plain", "thoughts"])
def test_a_prompt_is_what_stands_before_the_last_answer_in_training(name: str, row: Example) -> None:
    tokenizer = tokenizer_of(name)
    tokens = tokenize(row, tokenizer, 10_000)
    prompt, reference = prompt_and_reference(row, tokenizer)
    assert list(tokens.input_ids[: len(prompt)]) == prompt
    assert tokens.loss_mask[len(prompt)]
    assert not tokens.loss_mask[len(prompt) - 1]
    assert "again" not in tokenizer.decode(prompt)
    assert reference.endswith("A")
    if row is TALK and name != "gpt-oss":
        assert reference == "A"


def test_an_answer_that_looks_like_a_heading_keeps_its_loss() -> None:
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    tokenizer = trained_tokenizer(template)
    row = tokenize(chat("who?", "user: me\nassistant: you\nuser: no", "x", "user: x"), tokenizer, 10_000)
    assert learned(tokenizer, row) == [" user: me\nassistant: you\nuser: no\n", " user: x\n</s>"]


def test_a_turn_of_weight_nothing_is_read_and_not_learned() -> None:
    tokenizer = tokenizer_of("Qwen3")
    row = conversation(
        Message("user", "Q"), Message("assistant", "bad", learned=False), Message("user", "again"), Message("assistant", "good")
    )
    tokens = tokenize(row, tokenizer, 10_000)
    assert learned(tokenizer, tokens) == ["<think>\n\n</think>\n\ngood<|im_end|>"]
    assert "bad" in tokenizer.decode(tokens.input_ids)


def test_the_last_learned_answer_is_the_one_that_is_generated() -> None:
    tokenizer = tokenizer_of("LFM2.5")
    bad = Message("assistant", "bad", learned=False)
    row = conversation(Message("user", "Q"), Message("assistant", "good"), Message("user", "more"), bad)
    prompt, reference = prompt_and_reference(row, tokenizer)
    assert reference == "good"
    assert tokenizer.decode(prompt) == "<s><|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"


def test_tools_are_shown_or_the_row_is_refused() -> None:
    messages = (Message("user", "Weather?"), Message("assistant", "Rain."))
    row = conversation(*messages, tools='[{"type": "function", "function": {"name": "weather"}}]')
    tokenizer = tokenizer_of("Qwen3")
    tokens = tokenize(row, tokenizer, 10_000)
    assert '# Tools\n{"type": "function", "function": {"name": "weather"}}' in tokenizer.decode(tokens.input_ids)
    with pytest.raises(InputError, match=r"line 1: the row has tools, which the model's chat template does not show; use a model"):
        tokenize(row, tokenizer_of("Gemma"), 10_000)


@pytest.mark.parametrize("name", CLASSES)
def test_control_tokens_in_anyones_words_become_text(name: str) -> None:
    tokenizer = tokenizer_of(name)
    end = tokenizer.convert_ids_to_tokens(min(ending_of(tokenizer).tokens))
    row = chat(f"Say {end} and </s>", f"I say {end} twice", f"{end}?", "no", system=f"never {end}")
    plain = tokenize(chat("Say - and -", "I say - twice", "-?", "no", system="never -"), tokenizer, 10_000)
    tokens = tokenize(row, tokenizer, 10_000)
    marks = [tokenizer.convert_tokens_to_ids(mark) for mark in CONTROLS]
    assert [token for token in tokens.input_ids if token in marks] == [token for token in plain.input_ids if token in marks]
    assert f"I say {end} twice" in tokenizer.decode(tokens.input_ids)
    assert f"I say {end} twice" in learned(tokenizer, tokens)[0]
    assert list(tokens.input_ids)[: len(prompt_and_reference(row, tokenizer)[0])] == prompt_and_reference(row, tokenizer)[0]


def test_control_tokens_in_the_schemas_of_tools_become_text() -> None:
    tokenizer = tokenizer_of("Qwen3")
    tools = '[{"type": "function", "function": {"name": "f", "description": "ends with <|im_end|>"}}]'
    row = conversation(Message("user", "Q"), Message("assistant", "A"), tools=tools)
    tokens = tokenize(row, tokenizer, 10_000)
    assert list(tokens.input_ids).count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 3


def test_a_tag_of_thoughts_in_a_question_is_text_and_in_an_answer_is_not() -> None:
    tokenizer = tokenizer_of("LFM2.5")
    tokens = tokenize(chat("What does </think> mean?", "<think>\nhm\n</think>\n\nan end"), tokenizer, 10_000)
    assert list(tokens.input_ids).count(tokenizer.convert_tokens_to_ids("</think>")) == 1
    assert learned(tokenizer, tokens) == ["<think>\nhm\n</think>\n\nan end<|im_end|>"]


def test_an_answer_that_the_template_hides_is_said(tokenizer: Any) -> None:
    template = (
        "{% for m in messages %}{% if loop.index0 >= messages | length - 2 %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    tokens = tokenize(TALK, trained_tokenizer(template), 10_000)
    assert [part.strip() for part in learned(trained_tokenizer(template), tokens)] == ["A<|im_end|>"]


def test_an_answer_that_is_shown_twice_is_refused() -> None:
    template = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }} or {{ m['content'] }}<|im_end|>\n{% endfor %}"
    with pytest.raises(InputError, match="an answer cannot be separated from the rest"):
        tokenize(TALK, trained_tokenizer(template), 10_000)


def test_a_template_that_looks_at_the_ends_of_a_text_is_read_another_way() -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}{% if m['content'].endswith('/quick') %} (quick)"
        "{% elif m['content'].startswith('slow') %} (slow){% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    tokenizer = trained_tokenizer(template)
    for question in ("Why? /quick", "slow: why?"):
        assert learned(tokenizer, tokenize(chat(question, "because of it"), tokenizer, 10_000)) == ["because of it<|im_end|>"]


NO_THINK = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and loop.last %}<think></think>{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if '/no_think' in messages[-1]['content'] %}<think></think>{% else %}<think>\n{% endif %}{% endif %}"
)
"""What an answer is asked for with depends on the question."""


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_what_a_row_learns_does_not_depend_on_the_rows_before_it(order: list[int]) -> None:
    tokenizer = trained_tokenizer(NO_THINK, eos="<|im_end|>")
    rows = [chat("what /no_think", "answer one"), chat("what is it", "answer two")]
    found = {index: learned(tokenizer, tokenize(rows[index], tokenizer, 1000)) for index in order}
    assert found == {0: ["answer one<|im_end|>"], 1: ["</think>answer two<|im_end|>"]}


def test_a_heading_that_quotes_the_question_is_that_of_the_own_row() -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\nOf {{ messages[0]['content'] }}: {% endif %}"
    )
    tokenizer = trained_tokenizer(template, eos="<|im_end|>")
    headings = [conversation_of(chat(question, "because"), tokenizer).own_heading for question in ("stones", "rivers")]
    assert headings == ["Of stones: ", "Of rivers: "]


def headed(content: str) -> str:
    """Return a template without an end token that writes contents as given."""
    return (
        "{% for m in messages %}### {{ m['role'] }}\n{{ " + content + " }}\n\n{% endfor %}"
        "{% if add_generation_prompt %}### assistant\n{% endif %}"
    )


@pytest.mark.parametrize(
    ("content", "learns"),
    [
        pytest.param("m['content'] | upper", ["SO B</B>\n\n", "YES</B>\n\n</s>"], id="upper case"),
        pytest.param("m['content'] | capitalize", ["So b</b>\n\n", "Yes</b>\n\n</s>"], id="a capital first"),
        pytest.param("m['content'] | e", ["so b&lt;/b&gt;\n\n", "yes&lt;/b&gt;\n\n</s>"], id="escaped for HTML"),
    ],
)
def test_tags_behind_the_last_word_are_learned_however_the_template_writes_them(content: str, learns: list[str]) -> None:
    tokenizer = trained_tokenizer(headed(content))
    assert learned(tokenizer, tokenize(chat("what", "so b</b>", "and", "yes</b>"), tokenizer, 1000)) == learns


def test_white_space_behind_an_answer_is_learned_with_the_end_where_the_template_escapes_it() -> None:
    tokenizer = trained_tokenizer("{{ messages | tojson }}{% if add_generation_prompt %}, assistant: {% endif %}")
    row = tokenize(chat("what", "so \n\n", "and", "yes"), tokenizer, 1000)
    assert [span.split('"content": ')[1] for span in learned(tokenizer, row)] == [r'"so \n\n"}', '"yes"}]</s>']


def test_white_space_that_the_template_trims_in_part_does_not_hide_the_end() -> None:
    tokenizer = trained_tokenizer(headed("m['content'].rstrip('\\n')"))
    assert learned(tokenizer, tokenize(chat("what", "so \n", "and", "yes"), tokenizer, 1000)) == ["so \n\n", "yes\n\n</s>"]


@pytest.mark.parametrize("change", ["capitalize", "title"])
def test_what_is_learned_ends_before_the_next_turn_whose_first_word_the_template_changes(change: str) -> None:
    tokenizer = trained_tokenizer("{% for m in messages %}<|im_start|>{{ m['content'] | " + change + " }}\n{% endfor %}", eos="<|im_end|>")
    conversation = conversation_of(chat("what", "so it is", "and then", "yes"), tokenizer)
    assert [conversation.text[turn.limit :][:4] for turn in conversation.turns] == ["And ", ""]


PARTS = ["A", " ", "\n", "<|im_end|>", "</s>", "user\n", "<|im_start|>assistant\n", "<think>", "ü🙂", "assistant: ", "[/INST]", "<b>", "."]
WORDS = st.lists(st.sampled_from(PARTS), max_size=6).map("".join)
CONTENTS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3).map(lambda pairs: [words for pair in pairs for words in pair])


@pytest.mark.parametrize("name", CLASSES)
@settings(max_examples=40)
@given(contents=CONTENTS)
def test_whatever_is_said_each_turn_is_learned_whole_and_nothing_of_another(name: str, contents: list[str]) -> None:
    tokenizer = TOKENIZERS[name]
    turns = [f"{content}turn{number}of{content}" for number, content in enumerate(contents)]
    row = tokenize(chat(*turns), tokenizer, 100_000)
    spans = learned(tokenizer, row)
    assert len(spans) == len(turns) // 2
    for span, said in zip(spans, turns[1::2], strict=True):
        assert said.strip() in span
        assert [f"turn{number}of" in span for number in range(len(turns))].count(True) == 1
        ends = tokenizer(span, add_special_tokens=False)["input_ids"][-1]
        assert ends in ending_of(tokenizer).tokens


TOKENIZERS = {name: tokenizer_of(name) for name in CLASSES}
