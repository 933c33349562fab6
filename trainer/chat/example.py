"""A conversation as read from a row. Tests: tests/trainer/chat/test_messages.py, tests/trainer/tasks/test_conformance.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from trainer.data.rows import Example, hash_of
from trainer.text.words import bare


@dataclass(frozen=True)
class Call:
    """A call of a tool that an assistant turn makes."""

    name: str
    arguments: str
    """JSON of an object, as the row writes it."""
    id: str | None = None

    def __str__(self) -> str:
        """Return the call as one text, for what compares or shows answers."""
        return f"{self.name}({self.arguments})"


@dataclass(frozen=True)
class Message:
    """One turn of a conversation. `role` is system, user, assistant or tool."""

    role: str
    content: str
    reasoning: str | None = None
    """The assistant's thoughts before the answer; the chat template decides where they go."""
    learned: bool = True
    """False for an assistant turn that is only context (weight 0)."""
    calls: tuple[Call, ...] = ()
    """The tools that an assistant turn calls; its content may then be empty."""
    call_id: str | None = None
    """Of a tool's answer: the id of the call that it answers."""
    name: str | None = None
    """Who speaks, or which tool answers; the chat template decides whether it is shown."""

    def parts(self) -> list[str]:
        """Return everything that identifies the turn: role, content, reasoning, weight, calls and names."""
        more = [f"reasoning {self.reasoning}"] if self.reasoning is not None else []
        more += [] if self.learned else ["weight 0"]
        more += [f"call {call.id or ''} {call}" for call in self.calls]
        more += [f"answers {self.call_id}"] if self.call_id is not None else []
        return [self.role, self.content, *more, *([f"name {self.name}"] if self.name is not None else [])]

    @property
    def said(self) -> str:
        """The content, with the calls of tools."""
        return "\n".join([*([self.content] if self.content or not self.calls else []), *map(str, self.calls)])

    def to_wire(self) -> list[Any]:
        """Return role, content, reasoning and learned; calls, call_id and name follow if there are any."""
        plain = [self.role, self.content, self.reasoning, self.learned]
        if not self.calls and self.call_id is None and self.name is None:
            return plain
        return [*plain, [[call.name, call.arguments, call.id] for call in self.calls], self.call_id, self.name]

    @classmethod
    def from_wire(cls, wire: Sequence[Any]) -> Self:
        """Return the turn that `to_wire` serialized as `wire`."""
        role, content, reasoning, learned = wire[:4]
        calls, call_id, name = wire[4:] or ((), None, None)
        return cls(role, content, reasoning, learned, tuple(Call(*call) for call in calls), call_id, name)


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
        """Return each turn as a list, and the tools."""
        return [[turn.to_wire() for turn in self.messages], self.tools]

    @classmethod
    def from_wire(cls, name: str, origin: str, wire: Any) -> Self:
        """Return the example that `to_wire` serialized as `wire`."""
        turns, tools = wire
        return cls(name, origin, tuple(map(Message.from_wire, turns)), tools)

    @property
    def prompt_key(self) -> str:
        """Hash of everything before the last answer that is learned."""
        return _id_of(self.asked, self.tools)

    @property
    def prompt_words(self) -> str:
        """Words of the turns before the answer. Roles are included so that a question differs from a conversation that continues it."""
        return "\n".join(f"{turn.role} {bare(turn.said)}" for turn in self.asked)

    @property
    def answer(self) -> str:
        """The last answer that is learned, with the tools that it calls."""
        return self.messages[self.answer_index].said

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
