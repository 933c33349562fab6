"""A conversation as read from a row. Tests: tests/trainer/chat/test_messages.py, tests/trainer/tasks/test_conformance.py."""

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
    """The assistant's thoughts before the answer; the chat template decides where they go."""
    learned: bool = True
    """False for an assistant turn that is only context (weight 0)."""

    def parts(self) -> list[str]:
        """Return everything that identifies the turn: role, content, reasoning and weight."""
        more = [f"reasoning {self.reasoning}"] if self.reasoning is not None else []
        return [self.role, self.content, *more, *([] if self.learned else ["weight 0"])]


@dataclass(frozen=True)
class ChatExample(Example):
    """A conversation whose last turn is the assistant's."""

    messages: tuple[Message, ...]
    tools: str | None = None
    """Function schemas that the conversation offers: a JSON list."""

    @classmethod
    def of(cls, origin: str, messages: Sequence[Message], tools: str | None = None) -> Self:
        """Return the example, with an id derived from its content."""
        return cls(_id_of(messages, tools), origin, tuple(messages), tools)

    def to_wire(self) -> list[Any]:
        """Return [role, content, reasoning, learned] of each turn, and the tools."""
        return [[[turn.role, turn.content, turn.reasoning, turn.learned] for turn in self.messages], self.tools]

    @classmethod
    def from_wire(cls, name: str, origin: str, wire: Any) -> Self:
        """Return the example that `to_wire` serialized as `wire`."""
        turns, tools = wire
        return cls(name, origin, tuple(Message(*turn) for turn in turns), tools)

    @property
    def prompt_key(self) -> str:
        """Hash of everything before the last answer that is learned."""
        return _id_of(self.asked, self.tools)

    @property
    def prompt_words(self) -> str:
        """Words of the turns before the answer. Roles are included so that a question differs from a conversation that continues it."""
        return "\n".join(f"{turn.role} {bare(turn.content)}" for turn in self.asked)

    @property
    def answer(self) -> str:
        """Content of the last answer that is learned."""
        return self.messages[self.answer_index].content

    @property
    def answer_index(self) -> int:
        """Index of that answer in `messages`; of the last message if no answer is learned."""
        answers = [index for index, message in enumerate(self.messages) if message.role == "assistant" and message.learned]
        return answers[-1] if answers else len(self.messages) - 1

    @property
    def asked(self) -> tuple[Message, ...]:
        """The turns before that answer."""
        return self.messages[: self.answer_index]


def _id_of(messages: Sequence[Message], tools: str | None) -> str:
    return hash_of([*(part for message in messages for part in message.parts()), *([] if tools is None else [tools])])
