"""Chat: the model answers the last message of a conversation. Only the assistant's turns have loss.

trainer/chat reads, renders and tokenizes conversations. Tests: tests/trainer/tasks/test_conformance.py, tests/trainer/chat/.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from finetune.api.columns import Columns
from finetune.api.tasks import TASKS as FACTS
from finetune.api.tasks import TaskName
from trainer.chat.example import ChatExample
from trainer.chat.findings import conversation_findings
from trainer.chat.rows import conversation_advice, conversation_in, conversation_layout, with_answer
from trainer.chat.template import uses_plain_template
from trainer.chat.tokens import prompt_and_reference, read, read_all
from trainer.chat.turnend import opening_ids, turn_stops
from trainer.data.layout import FirstRows, Layout
from trainer.data.reading import Languages, Row
from trainer.data.rows import Piece, Skipped
from trainer.data.sampled import Sampled
from trainer.tasks.base import SOME_ANSWER, Generate
from trainer.tasks.templated import Templated


class Chat(Templated[ChatExample]):
    """Answer the last message of a conversation."""

    facts = FACTS[TaskName.CHAT]
    answers = ("completion",)

    def choose_columns(self, field: str, given: Columns, names: list[str], first: FirstRows | None) -> Layout:
        """Choose a column of messages, or a prompt and a completion column."""
        return conversation_layout(field, given, names, first)

    def column_advice(self, layout: Layout, column: str, first: FirstRows) -> str:
        """Suggest a column of messages, or two text columns."""
        return conversation_advice(layout, column, first)

    def read(self, row: Row) -> ChatExample | Skipped:
        """Read messages, or a prompt with its completion, system message and earlier turns."""
        return conversation_in(row)

    def vary(self, example: ChatExample, change: Callable[[str], str]) -> ChatExample:
        """Change only the user's turns, never system messages or answers."""
        turns = (replace(turn, content=change(turn.content)) if turn.role == "user" else turn for turn in example.messages)
        return replace(example, messages=tuple(turns))

    def encode(self, example: ChatExample, tokenizer: Any, max_length: int) -> list[Piece[ChatExample]]:
        """Render the conversation with the chat template, and truncate it after `max_length` tokens."""
        return [read(example, tokenizer).piece(tokenizer, max_length)]

    def encode_all(self, examples: Iterable[ChatExample], tokenizer: Any, max_length: int) -> Iterator[list[Piece[ChatExample]]]:
        """Tokenize conversations in batches, on all cores."""
        return ([reading.piece(tokenizer, max_length)] for reading in read_all(examples, tokenizer))

    def request(self, example: ChatExample, tokenizer: Any) -> Generate:
        """Ask for the last answer that is learned."""
        prompt, reference = prompt_and_reference(example, tokenizer)
        shown = next((message.content for message in reversed(example.asked) if message.role == "user"), "")
        return Generate((reference,), shown, prompt, turn_stops(tokenizer), tuple(opening_ids(tokenizer)))

    def is_likely(self, tokenizer: Any) -> bool:
        """Return whether the model brings a chat template."""
        return not uses_plain_template(tokenizer)

    def answered(self, values: Mapping[str, Any], layout: Layout, languages: Languages | None = None) -> dict[str, Any]:
        """End messages, as completions, with some answer."""
        found, column = super().answered(values, layout), layout.get("messages")
        return found if column is None else {**found, column: with_answer(found.get(column), SOME_ANSWER)}

    def findings(self, sides: Sequence[Sampled[ChatExample]], tokenizer: Any) -> list[str]:
        """Report what the template leaves out or adds, and what prompts end with."""
        return conversation_findings(sides, tokenizer)


CHAT = Chat()
TASKS = (CHAT,)
