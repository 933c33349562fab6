"""A conversation: each line is a turn, answers are streamed, and what the commands do is said."""

import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune.api.errors import InputError
from finetune.api.using import Chat, ChosenModel
from tests.trainer.fixtures.causal import tiny_tokenizer
from tests.trainer.fixtures.tokenizers import byte_tokenizer
from trainer.evaluation.beginning import context_length
from trainer.evaluation.generation import PLAIN, AnswerForm, Generated
from trainer.tasks.base import Generate
from trainer.tasks.language_modeling import LANGUAGE_MODELING
from trainer.using import chat
from trainer.using.asking import ask
from trainer.using.chat import UNLEARNED, Interrupt, Stream, Talk, check_task
from trainer.using.loading import Loaded


class Conversed:
    """A talk with what it wrote."""

    def __init__(self, loaded: Loaded, interrupt: Interrupt, **options: Any) -> None:
        self.out, self.said = io.StringIO(), list[str]()
        wanted = Chat(model=ChosenModel(name="any"), **{"max_new_tokens": 8, **options})
        self.talk = Talk(wanted, loaded, self.out, self.said.append, interrupt)

    def __call__(self, *lines: str) -> list[bool]:
        return [self.talk.line(line) for line in lines]

    @property
    def messages(self) -> list[tuple[str, str]]:
        return [(turn["role"], turn["content"]) for turn in self.talk.conversation.given()]


@pytest.fixture
def interrupt() -> Iterator[Interrupt]:
    before = signal.getsignal(signal.SIGINT)
    yield Interrupt()
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def conversed(loaded: Loaded, interrupt: Interrupt) -> Conversed:
    return Conversed(loaded, interrupt)


def test_each_turn_is_answered_with_all_that_was_said_before(conversed: Conversed, loaded: Loaded) -> None:
    conversed("a job", "rows")

    roles, contents = zip(*conversed.messages, strict=True)
    assert roles == ("user", "assistant") * 2
    assert (contents[0], contents[2]) == ("a job", "rows")
    assert conversed.out.getvalue() == f"{contents[1]}\n{contents[3]}\n"
    request = ask(loaded.task, loaded.tokenizer, {"messages": conversed.talk.conversation.given()[:3]}).request
    assert isinstance(request, Generate)
    alone = loaded.tuned.engine.model.generate  # the answer of the model itself to the same messages
    import torch

    tokens = alone(input_ids=torch.tensor([list(request.prompt)]), max_new_tokens=8, do_sample=False)[0, len(request.prompt) :]
    assert contents[3] == loaded.tokenizer.decode(tokens, skip_special_tokens=True).strip()


def test_the_base_answers_where_it_is_asked_for(loaded: Loaded, interrupt: Interrupt) -> None:
    tuned, base = Conversed(loaded, interrupt), Conversed(loaded, interrupt, base=True)

    for each in (tuned, base):
        each("a job")

    assert tuned.out.getvalue() != base.out.getvalue()


def test_the_system_message_is_given_set_and_removed(loaded: Loaded, interrupt: Interrupt) -> None:
    conversed = Conversed(loaded, interrupt, system="Be brief.")

    conversed("a job")
    assert conversed.messages[0] == ("system", "Be brief.")
    conversed("/system Be kind.")
    assert conversed.messages[0] == ("system", "Be kind.")
    conversed("/system")
    assert conversed.messages[0] == ("user", "a job")
    assert conversed.said[-2:] == ["the system message is set", "there is no system message"]


def test_commands_reset_leave_and_are_explained(conversed: Conversed) -> None:
    assert conversed("a job", "/reset", "/help", "", "  ") == [True] * 5
    assert conversed.messages == []
    assert conversed.said[-1].startswith("/system TEXT sets the system message")
    assert conversed("/exit") == [False]


def test_two_slashes_begin_a_message(conversed: Conversed) -> None:
    conversed("//etc is what?")

    assert conversed.messages[0] == ("user", "/etc is what?")


def answering(monkeypatch: pytest.MonkeyPatch, *answers: Generated) -> None:
    """Have the model give these answers, the last one again and again."""
    given = list(answers)
    monkeypatch.setattr(chat, "generate_one", lambda *_: given.pop(0) if len(given) > 1 else given[0])


def test_a_conversation_is_saved_as_a_row_for_training(
    conversed: Conversed, loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, Generated("trains", cut=False))

    conversed("a job", f"/save {tmp_path / 'saved.jsonl'}", "/reset", "rows", f"/save {tmp_path / 'saved.jsonl'}")

    rows = [json.loads(line) for line in (tmp_path / "saved.jsonl").read_text().splitlines()]
    assert [row["messages"][0]["content"] for row in rows] == ["a job", "rows"]
    assert all(row["messages"][-1]["role"] == "assistant" for row in rows)
    assert ask(loaded.task, loaded.tokenizer, rows[0]).request is not None
    conversed("/reset", "/save x", f"/save {tmp_path / 'none' / 'x'}")
    assert conversed.said[-1] == "nothing was said yet"


def test_an_answer_that_did_not_come_to_its_end_is_saved_as_one_not_to_learn(
    conversed: Conversed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, Generated("it tr", cut=True), Generated("it trains", cut=False))

    conversed("a job", f"/save {tmp_path / 'saved.jsonl'}")
    assert conversed.said[-1] == UNLEARNED
    assert not (tmp_path / "saved.jsonl").exists()

    conversed("once more", f"/save {tmp_path / 'saved.jsonl'}")
    messages = json.loads((tmp_path / "saved.jsonl").read_text())["messages"]
    assert [message.get("weight", 1) for message in messages if message["role"] == "assistant"] == [0, 1]


def test_an_answer_that_was_stopped_is_saved_as_one_not_to_learn(conversed: Conversed, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any) -> Generated:
        os.kill(os.getpid(), signal.SIGINT)
        return Generated("it tr", cut=False)

    monkeypatch.setattr(chat, "generate_one", stopped)
    conversed("a job", "/save anywhere")

    assert conversed.said == ["stopped", UNLEARNED]


def test_a_signal_before_the_first_token_ends_the_answer_not_the_talk(conversed: Conversed, monkeypatch: pytest.MonkeyPatch) -> None:
    question = conversed.talk._question

    def interrupted(turns: Any) -> Generate:
        os.kill(os.getpid(), signal.SIGINT)
        return question(turns)

    monkeypatch.setattr(conversed.talk, "_question", interrupted)

    assert conversed("a job") == [True]
    assert conversed.said == ["stopped"]


def test_a_message_that_is_too_long_loses_its_beginning_and_both_losses_are_said(
    conversed: Conversed, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded.tuned.engine.model
    given, generate = list[int](), type(model.get_base_model()).generate

    def generating(self: Any, *, input_ids: Any, **options: Any) -> Any:
        given.append(input_ids.shape[1])
        return generate(self, input_ids=input_ids, **options)

    monkeypatch.setattr(type(model.get_base_model()), "generate", generating)
    conversed("a job", "the controller starts a run " * 200)

    assert given[-1] == context_length(model) - 8
    said = [line for line in conversed.said if "left out" in line]
    assert [line.split()[1] for line in said] == ["conversation", "message"]


def test_a_long_conversation_loses_its_oldest_turns_and_says_so(conversed: Conversed) -> None:
    conversed(*["the controller starts a run and reports its progress"] * 5)

    assert conversed.messages[0][0] == "user"
    assert len(conversed.messages) < 10
    assert any("oldest messages are left out" in line for line in conversed.said)


def test_a_signal_stops_the_answer_and_nothing_else(conversed: Conversed, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []

    def show(self: Stream, tokens: list[int]) -> None:
        shown.append(len(tokens))
        if len(shown) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Stream, "show", show)

    assert conversed("a job") == [True]
    assert len(shown) == 3
    assert conversed.said == ["stopped"]
    assert conversed.messages[-1][0] == "assistant", "what was answered so far is part of the conversation"
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_an_answer_is_written_as_it_comes_without_halves_of_characters_and_without_its_opening() -> None:
    tokenizer = byte_tokenizer()
    ids = tokenizer("Grüße an 世界.")["input_ids"]
    opening = tuple(tokenizer("##")["input_ids"])
    written: list[str] = []
    stream = Stream(tokenizer, AnswerForm(opening=opening), written.append)

    for count in range(1, len(opening) + len(ids) + 1):
        stream.show([*opening, *ids][:count])
    stream.end("Grüße an 世界.")

    assert "".join(written) == "Grüße an 世界.\n"
    assert not any("\N{REPLACEMENT CHARACTER}" in part for part in written)
    assert len([part for part in written if part]) > 5


def test_white_space_around_an_answer_is_not_written() -> None:
    tokenizer, written = tiny_tokenizer(), list[str]()
    stream = Stream(tokenizer, PLAIN, written.append)
    ids = tokenizer("  a job  \n")["input_ids"]

    for count in range(1, len(ids) + 1):
        stream.show(ids[:count])
    stream.end("a job")

    assert "".join(written) == "a job\n"


def test_a_model_for_something_else_is_not_talked_to() -> None:
    with pytest.raises(
        InputError, match=r"^DIR: the model is used for language-modeling, which has no conversations; use finetune predict"
    ):
        check_task(LANGUAGE_MODELING, "DIR")
