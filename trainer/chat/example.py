"""A conversation as the rows hold it. Tests: tests/trainer/chat/test_messages.py, tests/trainer/tasks/test_conformance.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from trainer.data.rows import Example, hash_of
from trainer.text.words import bare


@dataclass(frozen=True)
class Message:
    """One turn of a conversation. `role` is system, user or assistant."""

    role: str
    content: str
    reasoning: str | None = None
    """What an assistant thinks before the answer; the chat template says where it goes."""
    learnt: bool = True
    """False for an assistant's turn that is there to be read only (weight 0)."""

    def parts(self) -> list[str]:
        """Return role and content, and what else the turn has: two turns are equal if these are."""
        more = [f"reasoning {self.reasoning}"] if self.reasoning is not None else []
        return [self.role, self.content, *more, *([] if self.learnt else ["weight 0"])]


@dataclass(frozen=True)
class ChatExample(Example):
    """A conversation that ends with the assistant."""

    messages: tuple[Message, ...]
    tools: str | None = None
    """Schemas of the functions that the conversation offers: a list, as JSON."""

    @classmethod
    def of(cls, origin: str, messages: Sequence[Message], tools: str | None = None) -> Self:
        """Return the example with the id that follows from its content."""
        return cls(_id_of(messages, tools), origin, tuple(messages), tools)

    def to_wire(self) -> list[Any]:
        """Return the fields of each turn, and the tools."""
        return [[[turn.role, turn.content, turn.reasoning, turn.learnt] for turn in self.messages], self.tools]

    @classmethod
    def from_wire(cls, name: str, origin: str, wire: Any) -> Self:
        """Return the example that `to_wire` made `wire` of."""
        turns, tools = wire
        return cls(name, origin, tuple(Message(*turn) for turn in turns), tools)

    @property
    def prompt_key(self) -> str:
        """Hash of everything before the last answer that is learnt."""
        return _id_of(self.asked, self.tools)

    @property
    def prompt_words(self) -> str:
        """Words of the turns before the answer. Their roles keep a question apart from a conversation that goes on from it."""
        return "\n".join(f"{turn.role} {bare(turn.content)}" for turn in self.asked)

    @property
    def answer(self) -> str:
        """The last answer that is learnt."""
        return self.messages[self.answer_index].content

    @property
    def answer_index(self) -> int:
        """The place of that answer among the messages."""
        answers = [index for index, message in enumerate(self.messages) if message.role == "assistant" and message.learnt]
        return answers[-1] if answers else len(self.messages) - 1

    @property
    def asked(self) -> tuple[Message, ...]:
        """The turns before that answer."""
        return self.messages[: self.answer_index]


def _id_of(messages: Sequence[Message], tools: str | None) -> str:
    return hash_of([*(part for message in messages for part in message.parts()), *([] if tools is None else [tools])])
