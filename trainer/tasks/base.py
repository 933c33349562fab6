"""A task, as the rest of the trainer sees it: how a row is read, varied, tokenized, asked and looked over.

A row goes from record by `read` to an example; duplicates and splits are found by its content and prompt key; `vary` changes what
augmentation may touch; `encode` makes samples, which the objective collates. A held-out row becomes a `request`, which a predictor
answers. Nothing outside trainer/tasks asks which task it is. Test: tests/trainer/tasks/test_conformance.py.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from finetune.api.sources import Columns
from finetune.api.tasks import TaskFacts
from trainer.data.layout import FirstRows, Layout, refuse_columns
from trainer.data.reading import Row
from trainer.data.rows import E, Piece, PieceCount, Sample, Skipped
from trainer.data.sampled import Keep, Sampled, in_memory

if TYPE_CHECKING:  # torch takes seconds, and rows are checked before it is needed
    from trainer.objectives.base import Objective


@dataclass(frozen=True)
class Request:
    """What a held-out row asks of the model. Each kind has a predictor; the reference is never shown to the model."""

    reference: str
    """The answer of the data."""
    shown: str
    """What was asked, for people."""


@dataclass(frozen=True)
class Generate(Request):
    """A request for text that continues a prompt."""

    prompt: Sequence[int]
    """Token ids."""
    stops: frozenset[int] = frozenset()
    """Tokens that end the answer, besides the end of a sequence."""
    opening: tuple[int, ...] = ()
    """Tokens that may come before the words of the answer and are no part of it."""


class Task(ABC, Generic[E]):
    """One thing that a model can learn to do. Has no state: the same value serves every process."""

    facts: ClassVar[TaskFacts]
    cuts: ClassVar[bool] = False
    """Whether a long example becomes several samples."""

    @property
    @abstractmethod
    def objective(self) -> "Objective[Any]":
        """How samples become a loss. Imported when it is asked for, as it needs torch."""

    def layout(self, field: str, columns: Columns, first: FirstRows | None) -> Layout:
        """Return the layout of a file; `first` are its first rows, None before it was read.

        Raises InputError where the job names a column of other tasks.
        """
        others = [name for name in Columns.model_fields if name not in (*self.facts.columns, "ignore")]
        refuse_columns(field, columns, others, f"task {self.facts.name} reads {self.facts.row}")
        names = [name for name in (first.names if first else []) if name not in (columns.ignore or ())]
        return self.choose_columns(field, columns, names, first)

    @abstractmethod
    def choose_columns(self, field: str, given: Columns, names: list[str], first: FirstRows | None) -> Layout:
        """Return which of the columns `names` hold what, as the job has it or by their names."""

    @abstractmethod
    def column_advice(self, layout: Layout, column: str, first: FirstRows) -> str:
        """Return what the user can do where the rows lack a column that is needed."""

    @abstractmethod
    def read(self, row: Row) -> E | Skipped:
        """Return the example that a row holds, or why it is left out; raises InputError for one that cannot be learnt as written."""

    @abstractmethod
    def vary(self, example: E, change: Callable[[str], str]) -> E:
        """Return the example with what augmentation may touch changed: what the model reads, never what it has to answer."""

    @abstractmethod
    def encode(self, example: E, tokenizer: Any, max_length: int) -> list[Piece[E]]:
        """Return the samples that an example becomes, each of at most `max_length` tokens."""

    def part(self, piece: Piece[E], tokenizer: Any) -> E:
        """Return what a piece was made from as an example of its own; what is varied is this."""
        return piece.example

    def encode_part(self, piece: Piece[E], varied: E, tokenizer: Any, max_length: int) -> Sample:
        """Return the sample of a piece whose part was varied."""
        return self.encode(varied, tokenizer, max_length)[0].tokens

    def count(self, examples: Sequence[E], tokenizer: Any, max_length: int) -> PieceCount:
        """Return how many samples examples become."""
        return PieceCount(len(examples))

    def request(self, example: E, tokenizer: Any) -> Request | None:
        """Return what a held-out row asks of the model; None for a task whose rows ask nothing."""
        return None

    def prepare(self, tokenizer: Any, moment: str | None) -> None:
        """Give the tokenizer what this task needs of it. `moment` is the ISO time that the run takes for now; None: the real time."""

    def depends_on_time(self, tokenizer: Any) -> bool:
        """Return whether samples depend on the time."""
        return False

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Raise InputError for a tokenizer that this task cannot be learnt with."""

    def sampled(self, name: str, examples: Sequence[E], tokenizer: Any, max_length: int, keep: Keep = in_memory) -> Sampled[E]:
        """Return the rows of a set as the model will see them; raises InputError for one that cannot be learnt as it is written.

        `keep` takes the pieces of all examples, where each is one piece; a task that looks at a sample keeps that in memory.
        """
        pieces = [piece for example in examples for piece in self.encode(example, tokenizer, max_length)]
        return Sampled(name, len(examples), len(examples), pieces)

    @abstractmethod
    def findings(self, sides: Sequence[Sampled[E]], tokenizer: Any) -> list[str]:
        """Return what deserves attention in the rows of all sets, the training rows first, that only this task knows of."""
