"""What the tasks that turn one text into another share on a causal model: a conversation of one question and its answer.

A task writes the question; the rest is the chat task's. Tests: tests/trainer/tasks/test_conformance.py,
tests/trainer/tasks/test_pairs.py.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import tee
from typing import Any, TypeVar

from trainer.chat.example import ChatExample, Message
from trainer.chat.findings import conversation_findings
from trainer.chat.tokens import prompt_and_reference, read_all
from trainer.chat.turnend import opening_ids, turn_stops
from trainer.data.rows import E, Piece
from trainer.data.sampled import Each, Sampled
from trainer.tasks.base import Generate
from trainer.tasks.templated import Templated
from trainer.text.pair import PairExample

P = TypeVar("P", bound=PairExample)


class AskedText(Templated[E]):
    """A task whose question is a user's message and whose answer is the assistant's, in the model's chat template."""

    @abstractmethod
    def question(self, example: E) -> str:
        """Return what the user asks: the instruction with the texts of the example."""

    @abstractmethod
    def shown(self, example: E) -> str:
        """Return the question in readable form, for reports."""

    @abstractmethod
    def references(self, example: E) -> tuple[str, ...]:
        """Return the right answers, at least one: the first is learned."""

    def encode(self, example: E, tokenizer: Any, max_length: int) -> list[Piece[E]]:
        """Render question and answer with the chat template; only the answer has loss."""
        (found,) = self.encode_all([example], tokenizer, max_length)
        return found

    def encode_all(self, examples: Iterable[E], tokenizer: Any, max_length: int) -> Iterator[list[Piece[E]]]:
        """Tokenize in batches, on all cores."""
        examples, asked = tee(examples)
        readings = read_all((self.conversation(example) for example in asked), tokenizer)
        for example, reading in zip(examples, readings, strict=True):
            made = reading.piece(tokenizer, max_length)
            yield [Piece(example, made.tokens, note=made.note)]

    def request(self, example: E, tokenizer: Any) -> Generate:
        """Ask for the answer."""
        prompt, reference = prompt_and_reference(self.conversation(example), tokenizer)
        references = (reference, *(other.strip() for other in self.references(example)[1:]))
        stops, opening = turn_stops(tokenizer), tuple(opening_ids(tokenizer))
        return Generate(references, self.shown(example), prompt, stops, opening, group=example.group)

    def findings(self, sides: Sequence[Sampled[E]], tokenizer: Any) -> list[str]:
        """Report what the template leaves out or adds, and what prompts end with."""
        return conversation_findings([self._asked(side) for side in sides], tokenizer)

    def conversation(self, example: E) -> ChatExample:
        """Return the example as a conversation of one turn each, under the example's id."""
        turns = Message("user", self.question(example)), Message("assistant", self.references(example)[0])
        return ChatExample(example.id, example.origin, turns)

    def _asked(self, side: Sampled[E]) -> Sampled[ChatExample]:
        def asked(piece: Piece[E]) -> Piece[ChatExample]:
            # A task's own note is in the lines before that of the conversation.
            return Piece(self.conversation(piece.example), piece.tokens, note=piece.note.rpartition("\n")[2])

        return Sampled(side.name, side.total, side.seen, Each(side.pieces, asked))


class AskedPair(AskedText[P]):
    """A task that makes one text of another."""

    def vary(self, example: P, change: Callable[[str], str]) -> P:
        """Change what the model reads, never the answer."""
        return replace(example, given=change(example.given))

    def shown(self, example: P) -> str:
        """Return the text."""
        return example.given

    def references(self, example: P) -> tuple[str, ...]:
        """Return the answers of the row."""
        return example.references
