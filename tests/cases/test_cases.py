"""Every input on which the product once failed behaves as it should, and inputs of the same kinds do too.

Given inputs lie outside the repository, and their tests are skipped where that folder is absent; the others are written here.
What needs a training run is in test_runs.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cases.checking import Checked, check
from tests.cases.inputs import PAIRS, gzipped, job, lines, model, turns
from tests.trainer.fixtures.templates import DEEPSEEK_R1, GLM4_5, HARMONY, LFM2_5, QWEN3
from tests.trainer.fixtures.tokenizers import CHATML
from tests.trainer.fixtures.tooltemplates import HERMES

Expectation = Callable[[Checked], None]


def refused(*words: str) -> Expectation:
    """The check refuses the job, in words that hold all of these."""

    def holds(checked: Checked) -> None:
        assert checked.error, f"taken, with {checked.findings}"
        for word in words:
            assert word in checked.error

    return holds


def taken(rows: int, *words: str) -> Expectation:
    """The check takes the job with so many training rows, and its findings hold all of these words."""

    def holds(checked: Checked) -> None:
        assert not checked.error
        assert len(checked.conversations()) == rows
        for word in words:
            assert word in checked.findings

    return holds


def learns(*rows: list[str], never: tuple[str, ...] = ()) -> Expectation:
    """Of the first training rows, what bears loss holds these words, and nothing learned holds any of `never`."""

    def holds(checked: Checked) -> None:
        learned = checked.learned()
        assert len(learned) >= len(rows)
        for wanted, text in zip(rows, learned, strict=False):
            for words in wanted:
                assert words in text
        assert not [words for words in never for text in learned if words in text]

    return holds


def all_of(*expectations: Expectation) -> Expectation:
    """All of these hold."""

    def holds(checked: Checked) -> None:
        for expectation in expectations:
            expectation(checked)

    return holds


def asks_as_it_was_taught(checked: Checked) -> None:
    """An answer is generated from what stands before the learned words in training, and the thought that a template opens is reported."""
    assert checked.config is not None
    assert checked.inputs is not None
    for row, prompt in zip(checked.train_rows(), checked.prompts(), strict=True):
        start = row.loss_mask.index(True)
        assert checked.inputs.tokenizer.decode(row.input_ids[:start]) == prompt
        assert "<think>" not in prompt
    assert "<think>" in checked.findings


def one_tokenization(checked: Checked) -> None:
    """The ids of a row are those of the text that the chat template writes."""
    assert checked.inputs is not None
    conversations = checked.conversations()
    assert conversations
    for row, conversation in zip(checked.train_rows(), conversations, strict=True):
        messages = [{"role": role, "content": words} for role, words in conversation]
        text = checked.inputs.tokenizer.apply_chat_template(messages, tokenize=False)
        assert list(row.input_ids) == checked.inputs.tokenizer(text, add_special_tokens=False)["input_ids"]


THOUGHT = "<think>\nI weigh it up\n</think>\n\n"

EXPECTED: dict[str, Expectation] = {
    "05-duplicate-json-key": refused("data.train[0]", "line 4", "completion"),
    "08-gzip": taken(4),
    "16-sharegpt": taken(1),
    "18-alpaca-input-lost": taken(4, "input"),
    "24-empty-assistant-in-the-middle": taken(3, "data.train[0]", "line 4"),
    "29-weight-zero-and-train-false": learns(["A0"], ["A1"], never=("a bad answer", "Wrong")),
    "30-reasoning-content-field": refused("line 1", "reasoning_content"),
    "32-tools-column": refused("line 1", "tools"),
    "36-csv-semicolon-with-commas": all_of(taken(3), learns(["It is, say, an apple."])),
    "41-tsv": all_of(taken(4), learns(["The apple number 0 is red."])),
    "52-drops-earlier-thoughts": all_of(
        taken(6, "leaves out thoughts, 6 of 12"),
        learns(["It is 0.<|im_end|>", "double"], ["It is 2.<|im_end|>", "It is 4.<|im_end|>"], never=("And twice that?", "let me check")),
        one_tokenization,
    ),
    "53-short-answers-and-open-thought": all_of(learns(["A<|end_of_sentence|>"], never=("<|Assistant|>",)), asks_as_it_was_taught),
    "78-yaml-merge-keys": taken(4),
    "90-label-bad-value": refused("metadata.labels", "data science / nlp", "bad key!"),
    "100-tied-lm-head-merged": refused("method.lora.targetModules[1]", "lm_head"),
    "107-channel-before-answer": all_of(
        learns(
            ["<|channel|>final<|message|>The first answer is 0.<|end|>", "<|channel|>final<|message|>The second is 1.<|return|>"],
            never=("And then?", "<|start|>"),
        ),
        one_tokenization,
    ),
    "108-short-answers-bleu": taken(6, "bleu", "data.test"),
    "125-answers-longer-than-generated": taken(8, "maxNewTokens", "data.test"),
}
"""What each given input comes to; those that need a run are in test_runs.py."""


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_given_input_behaves_as_it_should(name: str, given_cases: Path, tmp_path: Path) -> None:
    EXPECTED[name](check(given_cases / name / "job.yaml", tmp_path))


def test_every_given_input_is_looked_at(given_cases: Path) -> None:
    from tests.cases.test_runs import RUN

    folders = {path.name for path in given_cases.iterdir() if (path / "job.yaml").is_file()}
    assert folders == {*EXPECTED, *RUN}


@dataclass(frozen=True)
class Own:
    """An own input: what lies in the files (the first one is trained on), under which chat template, and what it comes to."""

    files: dict[str, bytes]
    expected: Expectation
    template: str = CHATML
    eos: str = "<|im_end|>"
    tied: bool = False
    metadata: dict[str, Any] | None = None
    sections: dict[str, Any] | None = None


CALL = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}


def rows(*given: Any) -> dict[str, bytes]:
    return {"train.jsonl": lines(list(given))}


OWN: dict[str, Own] = {
    "a key that stands twice in a message": Own(
        {"train.jsonl": b'{"messages": [{"role": "user", "content": "Hi", "content": "Ho"}, {"role": "assistant", "content": "Yes"}]}\n'},
        refused("line 1", "content"),
    ),
    "a key that stands twice in an array of rows": Own(
        {"train.json": b'[{"prompt": "a", "completion": "b"},\n {"prompt": "a", "prompt": "c", "completion": "d"}]'}, refused("prompt")
    ),
    "a compressed table": Own({"train.csv.gz": gzipped(b"prompt,completion\nWhat?,That.\n")}, learns(["That."])),
    "an archive that breaks off": Own({"train.jsonl.gz": gzipped(lines(PAIRS))[:-20]}, refused("data.train[0]", "train.jsonl.gz")),
    "one array over many lines": Own({"train.json": b'[\n {"prompt": "What?",\n  "completion": "That."}\n]\n'}, learns(["That."])),
    "conversations with a system message": Own(
        rows({"conversations": [{"from": who, "value": says} for who, says in (("system", "Be short."), ("human", "Hi"), ("gpt", "Ho"))]}),
        all_of(taken(1), learns(["Ho<|im_end|>"], never=("Be short.",))),
    ),
    "conversations with a speaker that nobody knows": Own(
        rows({"conversations": [{"from": "narrator", "value": "Once"}, {"from": "gpt", "value": "Ho"}]}), refused("line 1", "narrator")
    ),
    "instruction, input and output without columns": Own(
        rows({"instruction": "To French.", "input": "dog", "output": "chien"}, {"instruction": "Say", "input": "x", "output": "y"}),
        all_of(taken(2, "input"), learns(["chien"])),
    ),
    "a column with words that nothing reads": Own(
        rows(*({**pair, "explanation": f"because {index}"} for index, pair in enumerate(PAIRS))), taken(6, "explanation")
    ),
    "an empty question in the middle": Own(
        rows(turns("Hi", "Ho"), turns("Hi", "Ho", "", "Still there.")), taken(1, "data.train[0]", "line 2")
    ),
    "a turn that says it is not to be trained": Own(
        rows(turns("Q", {"content": "bad", "train": False}, "Again", {"content": "good", "train": True})), learns(["good"], never=("bad",))
    ),
    "a weight that is neither 0 nor 1": Own(rows(turns("Q", {"content": "A", "weight": 0.5})), refused("line 1", "weight")),
    "thoughts that the template shows": Own(
        rows(turns("Q", {"content": "A", "reasoning_content": "I weigh it up"})), learns(["I weigh it up", "A<|im_end|>"]), QWEN3
    ),
    "functions that the template shows": Own(
        rows(turns("Q", "A", tools=[{"type": "function", "function": {"name": "weather"}}])),
        all_of(taken(1), learns(["A<|im_end|>"])), QWEN3,
    ),
    "a call of a function, and what it answers": Own(
        rows(turns("Wet?", {"content": None, "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "a", "content": "rain"},
                   {"role": "assistant", "content": "Yes."}, tools=[{"type": "function", "function": {"name": "weather"}}])),
        all_of(taken(1), learns(['{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call><|im_end|>', "Yes.<|im_end|>"],
                                never=("rain", "Wet?"))), HERMES,
    ),
    "a call of a function that the template does not show": Own(
        rows(turns("Wet?", {"content": None, "tool_calls": [CALL]})), refused("line 1", "messages[1] has tool_calls", "chat template")
    ),
    "a call of a function whose arguments break off": Own(
        rows(turns("Wet?", {"tool_calls": [{**CALL, "function": {"name": "weather", "arguments": '{"city": '}}]})),
        refused("line 1", "arguments is not valid JSON"),
    ),
    "cells divided by bars": Own(
        {"train.csv": b"prompt|completion\nWell, what?|It is, say, an apple.\n"}, learns(["It is, say, an apple."])
    ),
    "cells divided by tabs in a file called csv": Own(
        {"train.csv": b"prompt\tcompletion\nWell, what?\tThat, there.\n"}, learns(["That, there."])
    ),
    "earlier thoughts that are dropped and trimmed": Own(
        rows(turns("What is 1?", THOUGHT + "It is one.", "And twice that?", THOUGHT + "It is two.")),
        all_of(learns(["It is one.<|im_end|>", "It is two.<|im_end|>"], never=("And twice that?",)), one_tokenization), LFM2_5,
    ),
    "a closed thought before the last answer alone": Own(
        rows(turns("What is 1?", "It is one.", "And twice that?", "It is two.")),
        all_of(
            learns(["It is one.<|im_end|>", "<think>\n\n</think>\n\nIt is two.<|im_end|>"], never=("And twice that?",)), one_tokenization
        ),
        QWEN3,
    ),
    "answers that only the next heading ends": Own(
        rows(turns("What is 1?", "It is one.", "And twice that?", "It is two.")),
        learns(["It is one.", "It is two."], never=("And twice that?",)), GLM4_5,
    ),
    "channels, and another end for the last turn": Own(
        rows(turns("What is 1?", "It is one.", "And twice that?", "It is two.")),
        all_of(learns(["It is one.<|end|>", "It is two.<|return|>"], never=("And twice that?", "Today")), one_tokenization),
        HARMONY, eos="<|return|>",
    ),
    "an answer of one letter that its question holds": Own(
        rows({"prompt": "A or B?", "completion": "A"}, {"prompt": "B or A?", "completion": "B"}),
        all_of(learns(["A<|end_of_sentence|>"], ["B<|end_of_sentence|>"]), asks_as_it_was_taught), DEEPSEEK_R1, eos="<|end_of_sentence|>",
    ),
    "an adapter on an embedding that is also the output layer": Own(
        rows(*PAIRS), refused("method.lora.targetModules[0]", "embed_tokens"), tied=True,
        sections={"method": {"lora": {"rank": 4, "targetModules": ["embed_tokens"]}}},
    ),
    "a label that is too long": Own(rows(*PAIRS), refused("metadata.labels", "63"), metadata={"labels": {"team": "x" * 64}}),
    "answers of one Chinese word": Own(
        rows(*({"prompt": f"{index}?", "completion": "是" if index % 2 else "否"} for index in range(12))), taken(9, "bleu"),
        sections={"data": {"train": [{"path": "train.jsonl"}], "testFraction": 0.3}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_an_input_of_the_same_kind_behaves_as_it_should(name: str, tmp_path: Path) -> None:
    own = OWN[name]
    folder = model(tmp_path / "model", own.template, eos=own.eos, tied=own.tied)
    own.expected(check(job(tmp_path, folder, own.files, own.metadata, **(own.sections or {})), tmp_path))
