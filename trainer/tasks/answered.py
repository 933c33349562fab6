"""What the tasks that turn one text into another share on an encoder-decoder: its encoder reads the text, its decoder writes the answer.

A task says what the encoder reads. Tests: tests/trainer/tasks/test_conformance.py, tests/trainer/tasks/test_answered.py.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from finetune.api.errors import InputError
from finetune.api.tasks import ModelFamily
from trainer.data.rows import E, Piece
from trainer.data.sampled import Sampled
from trainer.tasks.base import Generate, Task
from trainer.text.answering import answered, end_of, source_ids
from trainer.text.batches import in_batches
from trainer.text.directions import Direction, direction_of
from trainer.text.findings import pair_findings
from trainer.text.pair import PairExample

if TYPE_CHECKING:
    from trainer.objectives.seq2seq import Seq2SeqObjective

P = TypeVar("P", bound=PairExample)


class AnsweredText(Task[E]):
    """A task whose text an encoder reads, and whose answer a decoder writes."""

    family = ModelFamily.SEQ2SEQ

    @property
    def objective(self) -> "Seq2SeqObjective":
        """Prediction of the answer from the text; imports torch."""
        from trainer.objectives.seq2seq import SEQ2SEQ

        return SEQ2SEQ

    @abstractmethod
    def given(self, example: E) -> str:
        """Return what the encoder reads, besides what it is told of languages."""

    @abstractmethod
    def shown(self, example: E) -> str:
        """Return the question in readable form, for reports."""

    @abstractmethod
    def references(self, example: E) -> tuple[str, ...]:
        """Return the right answers, at least one: the first is learned."""

    def languages(self, example: E) -> str:
        """Return the languages of text and answer, such as en-de; "" where the model is told of none."""
        return ""

    def encode(self, example: E, tokenizer: Any, max_length: int) -> list[Piece[E]]:
        """Tokenize text and answer; only the answer has loss."""
        (found,) = self.encode_all([example], tokenizer, max_length)
        return found

    def encode_all(self, examples: Iterable[E], tokenizer: Any, max_length: int) -> Iterator[list[Piece[E]]]:
        """Tokenize in batches of one pair of languages, on all cores."""
        for direction, group in groupby(examples, key=lambda example: self._direction(example, tokenizer)):
            for batch in in_batches(group, lambda example: len(self.given(example)) + len(self.references(example)[0])):
                names, texts = [example.id for example in batch], [self.given(example) for example in batch]
                answers = [self.references(example)[0] for example in batch]
                samples = answered(names, texts, answers, direction, tokenizer, max_length)
                yield from ([Piece(example, sample)] for example, sample in zip(batch, samples, strict=True))

    def request(self, example: E, tokenizer: Any) -> Generate:
        """Ask for the answer."""
        direction = self._direction(example, tokenizer)
        (read,) = source_ids([self.given(example)], direction, tokenizer)
        references = tuple(reference.strip() for reference in self.references(example))
        end = end_of(tokenizer)
        stops = frozenset([end] if end is not None else [])
        return Generate(references, self.shown(example), read, stops, forced_first=direction.first, group=example.group)

    def depends_on_time(self, tokenizer: Any) -> bool:
        """Return False: no template reads the clock."""
        return False

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Raise InputError for a tokenizer without any token that could end an answer."""
        if end_of(tokenizer) is None:
            problem = "the tokenizer has neither an end-of-sequence nor a separator token, so answers could not end"
            raise InputError("model", problem, "use another model")

    def _direction(self, example: E, tokenizer: Any) -> Direction:
        return direction_of(self.languages(example), tokenizer, example.origin.partition(" ")[0])


class AnsweredPair(AnsweredText[P]):
    """A task that makes one text of another."""

    def given(self, example: P) -> str:
        """Return the text."""
        return example.given

    def shown(self, example: P) -> str:
        """Return the text."""
        return example.given

    def references(self, example: P) -> tuple[str, ...]:
        """Return the answers of the row."""
        return example.references

    def languages(self, example: P) -> str:
        """Return those of the row."""
        return example.languages

    def vary(self, example: P, change: Callable[[str], str]) -> P:
        """Change what the model reads, never the answer."""
        return replace(example, given=change(example.given))

    def findings(self, sides: Sequence[Sampled[P]], tokenizer: Any) -> list[str]:
        """Report the names of control tokens in texts."""
        return [finding for side in sides for finding in pair_findings(side, tokenizer)]
