"""Calls of tools are shown as the template shows them at inference, learned whole with their end, and nothing else is."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.api.errors import InputError
from tests.trainer.fixtures import templates
from tests.trainer.fixtures import tooltemplates as tool
from tests.trainer.fixtures.examples import chat, conversation, learned, tokenize
from tests.trainer.fixtures.tokenizers import CHATML, trained_tokenizer
from trainer.chat.calls import call_end_of
from trainer.chat.example import Call, ChatExample, Message
from trainer.chat.tokens import prompt_and_reference
from trainer.chat.turnend import turn_stops
from trainer.chat.turns import conversation_of

SCHEMAS = [
    {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
]
TOOLS = json.dumps(SCHEMAS)
CLASSES = {
    "Hermes": (tool.HERMES, "<|im_end|>"),
    "Llama-3.1": (tool.LLAMA3_1, "<|endoftext|>"),
    "Mistral": (tool.MISTRAL, "</s>"),
    "DeepSeek": (tool.DEEPSEEK, "<|end_of_sentence|>"),
    "GLM-4.5": (tool.GLM4_5, "<|endoftext|>"),
    "gpt-oss": (tool.HARMONY, "<|return|>"),
    "plain end": (tool.PLAIN_END, "</s>"),
}
PARALLEL = [name for name in CLASSES if name not in ("Llama-3.1", "gpt-oss")]


def tokenizer_of(name: str) -> Any:
    template, eos = CLASSES[name]
    return trained_tokenizer(template, eos=eos)


def call(city: str, number: int = 1) -> Call:
    return Call("weather", json.dumps({"city": city, "days": 2}), f"call0000{number}")


def answer(words: str, number: int = 1) -> Message:
    return Message("tool", words, call_id=f"call0000{number}")


def calling(*calls: Call, content: str = "", learned: bool = True) -> Message:
    return Message("assistant", content, learned=learned, calls=calls)


ROUND = (
    Message("user", "Is it wet in Rome?"), calling(call("Rome")), answer("it rains"), Message("assistant", "Yes, it is."),
    Message("user", "And in Oslo?"), calling(call("Os\"lo", 2)), answer("dry", 2), Message("assistant", "No."),
)  # fmt: skip
ROUNDS = {
    "Hermes": [
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome", "days": 2}}\n</tool_call><|im_end|>',
        "Yes, it is.<|im_end|>",
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Os\\"lo", "days": 2}}\n</tool_call><|im_end|>',
        "No.<|im_end|>",
    ],
    "Llama-3.1": [
        '{"name": "weather", "parameters": {"city": "Rome", "days": 2}}<|eot_id|>',
        "Yes, it is.<|eot_id|>",
        '{"name": "weather", "parameters": {"city": "Os\\"lo", "days": 2}}<|eot_id|>',
        "No.<|eot_id|>",
    ],
    "Mistral": [
        '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Rome", "days": 2}, "id": "call00001"}]</s>',
        " Yes, it is.</s>",
        '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Os\\"lo", "days": 2}, "id": "call00002"}]</s>',
        " No.</s>",
    ],
    "DeepSeek": [
        '<|call_begin|>weather\n```json\n{"city": "Rome", "days": 2}\n```<|call_end|><|end_of_sentence|>',
        "Yes, it is.<|end_of_sentence|>",
        '<|call_begin|>weather\n```json\n{"city": "Os\\"lo", "days": 2}\n```<|call_end|><|end_of_sentence|>',
        "No.<|end_of_sentence|>",
    ],
    "GLM-4.5": [
        "\n<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>"
        "\n</tool_call><|observation|>",
        "\nYes, it is.<|user|>",
        '\n<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Os"lo</arg_value>\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>'
        "\n</tool_call><|observation|>",
        "\nNo.<|user|>",
    ],
    "gpt-oss": [
        ' to=functions.weather<|channel|>commentary json<|message|>{"city": "Rome", "days": 2}<|call|>',
        "<|channel|>final<|message|>Yes, it is.<|end|>",
        ' to=functions.weather<|channel|>commentary json<|message|>{"city": "Os\\"lo", "days": 2}<|call|>',
        "<|channel|>final<|message|>No.<|return|>",
    ],
    "plain end": [
        '{"name": "weather", "arguments": {"city": "Rome", "days": 2}}\n\n',
        "Yes, it is.\n\n",
        '{"name": "weather", "arguments": {"city": "Os\\"lo", "days": 2}}\n\n',
        "No.\n\n</s>",
    ],
}


@pytest.mark.parametrize("name", CLASSES)
def test_calls_and_answers_are_learned_as_the_template_writes_them_and_what_tools_answer_is_not(name: str) -> None:
    tokenizer = tokenizer_of(name)
    assert learned(tokenizer, tokenize(conversation(*ROUND, tools=TOOLS), tokenizer, 10_000)) == ROUNDS[name]


@pytest.mark.parametrize("name", CLASSES)
def test_a_conversation_may_end_with_a_call(name: str) -> None:
    tokenizer = tokenizer_of(name)
    (span,) = learned(tokenizer, tokenize(conversation(*ROUND[:2], tools=TOOLS), tokenizer, 10_000))
    assert span == ROUNDS[name][0].removesuffix("</s>") + ("</s>" if name in ("plain end", "Mistral") else "")


WITHOUT_CONTENT = {"DeepSeek": True}
AS_TEXT = {"DeepSeek": True}


@pytest.mark.parametrize("name", CLASSES)
def test_the_tokens_are_those_of_what_the_template_writes_at_inference(name: str) -> None:
    tokenizer = tokenizer_of(name)
    turns: list[dict[str, Any]] = []
    for message in ROUND:
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.calls:
            (made,) = message.calls
            arguments = made.arguments if name in AS_TEXT else json.loads(made.arguments)
            turn |= {"content": None} if name in WITHOUT_CONTENT else {}
            turn["tool_calls"] = [{"id": made.id, "type": "function", "function": {"name": made.name, "arguments": arguments}}]
        if message.call_id:
            turn["tool_call_id"] = message.call_id
        turns.append(turn)
    text = tokenizer.apply_chat_template(turns, tools=SCHEMAS, tokenize=False)
    row = conversation(*ROUND, tools=TOOLS)
    assert conversation_of(row, tokenizer).text == text
    expected = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert list(tokenize(row, tokenizer, 10_000).input_ids)[: len(expected)] == expected


@pytest.mark.parametrize("name", PARALLEL)
def test_parallel_calls_are_one_turn_and_their_answers_are_not_learned(name: str) -> None:
    tokenizer = tokenizer_of(name)
    row = conversation(
        Message("user", "Rome and Oslo?"), calling(call("Rome"), call("Oslo", 2)), answer("wet here"), answer("dry there", 2),
        Message("assistant", "Both."), tools=TOOLS,
    )  # fmt: skip
    first, second = learned(tokenizer, tokenize(row, tokenizer, 10_000))
    assert ("Rome" in first, "Oslo" in first, first.count("weather")) == (True, True, 2)
    assert "Both." in second
    assert not [words for words in ("wet here", "dry there") if words in first + second]


@pytest.mark.parametrize(("name", "words"), [("Llama-3.1", "only supports single tool-calls"), ("gpt-oss", r"\[1\] is one, which the")])
def test_a_second_call_that_the_template_cannot_show_is_refused(name: str, words: str) -> None:
    row = conversation(Message("user", "Q"), calling(call("Rome"), call("Oslo", 2)), tools=TOOLS)
    with pytest.raises(InputError, match=f"line 1: .*{words}"):
        tokenize(row, tokenizer_of(name), 10_000)


@pytest.mark.parametrize("name", CLASSES)
def test_a_call_without_arguments_is_learned_with_its_end(name: str) -> None:
    tokenizer = tokenizer_of(name)
    row = conversation(
        Message("user", "Q"), calling(Call("clock", "{}", "call00001")), answer("nine"), Message("assistant", "9"), tools=TOOLS
    )
    first, _ = learned(tokenizer, tokenize(row, tokenizer, 10_000))
    assert "clock" in first
    assert first.endswith(ROUNDS[name][0][-4:])
    assert "nine" not in first


@pytest.mark.parametrize("name", CLASSES)
def test_a_call_of_weight_0_is_context(name: str) -> None:
    tokenizer = tokenizer_of(name)
    row = conversation(*ROUND[:1], calling(call("Rome"), learned=False), *ROUND[2:4], tools=TOOLS)
    (span,) = learned(tokenizer, tokenize(row, tokenizer, 10_000))
    assert span.strip().startswith(ROUNDS[name][1].split(".")[0].strip())


@pytest.mark.parametrize("name", CLASSES)
def test_control_tokens_in_arguments_and_answers_of_tools_are_text(name: str) -> None:
    tokenizer = tokenizer_of(name)
    bad = "".join(tokenizer.convert_ids_to_tokens(sorted(call_end_of(tokenizer).tokens))) or "</s>"
    plain, named = (
        conversation(Message("user", "Q"), calling(call(f"Ro{words}me")), answer(f"we{words}t"), Message("assistant", "Yes."), tools=TOOLS)
        for words in ("", bad)
    )
    for token in tokenizer(bad, add_special_tokens=False)["input_ids"]:
        counts = [list(tokenize(row, tokenizer, 10_000).input_ids).count(token) for row in (plain, named)]
        assert counts[0] == counts[1]
    first, _ = learned(tokenizer, tokenize(named, tokenizer, 10_000))
    assert bad in first


@pytest.mark.parametrize("name", CLASSES)
def test_a_prompt_is_what_precedes_the_call_and_the_reference_what_the_template_writes_of_it(name: str) -> None:
    tokenizer = tokenizer_of(name)
    row = conversation(*ROUND[:2], tools=TOOLS)
    prompt, reference = prompt_and_reference(row, tokenizer)
    tokens = tokenize(row, tokenizer, 10_000)
    assert prompt == list(tokens.input_ids)[: list(tokens.loss_mask).index(1)]
    assert "Rome" in reference
    assert "weather" in reference
    assert tokenizer.decode(prompt).count("city") == 1
    rest = tokenizer.decode(list(tokens.input_ids)[len(prompt) : -1], skip_special_tokens=True)
    assert rest.strip() == reference


@pytest.mark.parametrize(
    ("name", "ends"),
    [("Hermes", ["<|im_end|>"]), ("GLM-4.5", ["<|observation|>", "<|user|>"]), ("gpt-oss", ["<|call|>", "<|end|>", "<|return|>"])],
)
def test_generation_stops_at_the_end_of_a_call_and_not_between_two(name: str, ends: list[str]) -> None:
    tokenizer = tokenizer_of(name)
    assert sorted(tokenizer.convert_ids_to_tokens(sorted(turn_stops(tokenizer)))) == ends


@pytest.mark.parametrize("spoken", [calling(Call("f", "{}", "a<|im_end|>")), Message("tool", "x", call_id="a<|im_end|>")])
def test_an_id_that_names_a_control_token_is_refused(spoken: Message) -> None:
    row = conversation(Message("user", "Q"), *([calling(Call("f", "{}", "a"))] if spoken.role == "tool" else []), spoken)
    with pytest.raises(InputError, match=r"messages\[\d\] has an id of a call that holds '<\|im_end\|>'"):
        tokenize(row, tokenizer_of("Hermes"), 10_000)


TEXTS = st.lists(
    st.sampled_from(["A", " ", "\n", '"', "\\", "<|im_end|>", "</s>", "</tool_call>", "{}", "ü🙂", "'", "</arg_value>", "\U000f0000"]),
    max_size=5,
)
VALUES = st.recursive(
    TEXTS.map("".join) | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS.map("".join), inner, max_size=2),
    max_leaves=4,
)


@pytest.mark.parametrize("name", PARALLEL)
@settings(max_examples=30)
@given(arguments=st.lists(st.dictionaries(TEXTS.map("".join), VALUES, max_size=3), min_size=2, max_size=2))
def test_whatever_arguments_are_each_call_is_learned_whole_and_nothing_of_what_tools_answer(
    name: str, arguments: list[dict[str, Any]]
) -> None:
    tokenizer = TOKENIZERS[name]
    first, second = (Call("weather", json.dumps(given, ensure_ascii=False), f"call0000{number}") for number, given in enumerate(arguments))
    row = conversation(
        Message("user", "Q"), calling(first), answer("wet here", 0), calling(second), answer("dry there"), Message("assistant", "Both."),
        tools=TOOLS,
    )  # fmt: skip
    spans = learned(tokenizer, tokenize(row, tokenizer, 100_000))
    assert len(spans) == 3
    if name != "GLM-4.5":
        for span, made in zip(spans, (first, second), strict=False):
            assert json.dumps(json.loads(made.arguments), ensure_ascii=False) in span
    assert not [words for words in ("wet here", "dry there") if words in "".join(spans)]
    last = [tokenizer(span, add_special_tokens=False)["input_ids"][-1] for span in spans[:2]]
    assert name == "plain end" or set(last) <= call_end_of(tokenizer).tokens


TOKENIZERS = {name: tokenizer_of(name) for name in PARALLEL}


def test_a_template_for_conversations_with_tools_beside_the_usual_one_is_used_for_them() -> None:
    tokenizer = trained_tokenizer(CHATML, eos="<|im_end|>")
    tokenizer.chat_template = {"default": CHATML, "tool_use": tool.HERMES}
    assert learned(tokenizer, tokenize(conversation(*ROUND, tools=TOOLS), tokenizer, 10_000)) == ROUNDS["Hermes"]
    assert learned(tokenizer, tokenize(conversation(*ROUND[4:5], ROUND[-1]), tokenizer, 10_000)) == ["No.<|im_end|>"]
    with pytest.raises(InputError, match=r"messages\[1\] has tool_calls, which the model's chat template does not show"):
        tokenize(conversation(*ROUND[:2]), tokenizer, 10_000)


def test_what_is_said_beside_a_call_is_learned_where_the_template_shows_it() -> None:
    row = conversation(Message("user", "Q"), calling(call("Rome"), content="I look."), answer("wet"), Message("assistant", "Yes."))
    tokenizer = tokenizer_of("Hermes")
    assert learned(tokenizer, tokenize(row, tokenizer, 10_000))[0].startswith("I look.\n<tool_call>")
    assert not conversation_of(row, tokenizer).beside
    assert conversation_of(row, tokenizer_of("Llama-3.1")).beside


NO_TOOLS = [CHATML, templates.LFM2_5, templates.GEMMA, None]


@pytest.mark.parametrize("template", NO_TOOLS, ids=["ChatML", "LFM2.5", "Gemma", "plain"])
def test_calls_that_the_template_does_not_show_are_refused(template: str | None) -> None:
    tokenizer = trained_tokenizer(template)
    assert call_end_of(tokenizer).tokens == frozenset()
    with pytest.raises(InputError, match=r"line 1: messages\[1\] has tool_calls, which the model's chat template does not show; use a"):
        tokenize(conversation(*ROUND[:2]), tokenizer, 10_000)


@pytest.mark.parametrize("name", CLASSES)
def test_rows_without_tools_are_read_as_before(name: str) -> None:
    """A template that shows calls reads nothing else of a row without them."""
    tokenizer = tokenizer_of(name)
    row: ChatExample = chat("Q", "A", "more", "B")
    assert row.to_wire() == [[["user", "Q", None, True], ["assistant", "A", None, True], ["user", "more", None, True],
                              ["assistant", "B", None, True]], None]  # fmt: skip
    assert len(learned(tokenizer, tokenize(row, tokenizer, 10_000))) == 2


def test_a_name_is_written_where_the_template_shows_it_and_else_said() -> None:
    row = conversation(Message("user", "Q", name="Ada"), Message("assistant", "A"))
    shown = conversation_of(row, trained_tokenizer(tool.NAMED))
    assert shown.text.startswith("<|im_start|>user name=Ada\nQ")
    assert shown.unnamed == ""
    assert conversation_of(row, trained_tokenizer(CHATML)).unnamed == "user"


def test_rows_with_calls_survive_being_stored() -> None:
    row = conversation(*ROUND, Message("user", "Q", name="Ada"), Message("assistant", "A"), tools=TOOLS)
    assert ChatExample.from_wire(row.id, row.origin, json.loads(json.dumps(row.to_wire()))) == row


@pytest.mark.parametrize(
    "other",
    [
        conversation(*ROUND[:1], calling(call("Oslo"))),
        conversation(*ROUND[:1], calling(call("Rome"), call("Rome", 2))),
        conversation(*ROUND[:1], calling(Call("rain", call("Rome").arguments, "call00001"))),
        conversation(Message("user", ROUND[0].content, name="Ada"), *ROUND[1:2]),
    ],
)
def test_rows_that_differ_in_a_call_or_name_are_different_rows(other: ChatExample) -> None:
    assert other.id != conversation(*ROUND[:2]).id
