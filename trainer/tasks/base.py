"""A task, as the rest of the trainer sees it: how a row is read, varied, tokenized, evaluated and checked.

`read` turns a record into an example; duplicates and splits are found by its content and prompt key; `vary` changes what
augmentation may touch; `encode` makes samples, which the objective collates. A held-out row becomes a `request`, which a predictor
answers. Nothing outside trainer/tasks checks which task it has. Test: tests/trainer/tasks/test_conformance.py.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    """What a held-out row asks of the model. Each kind has a predictor; the model never sees the reference."""

    reference: str
    """The expected answer."""
    shown: str
    """The question in readable form, for reports."""


@dataclass(frozen=True)
class Generate(Request):
    """A request for text that continues a prompt."""

    prompt: Sequence[int]
    """Token ids."""
    stops: frozenset[int] = frozenset()
    """Tokens that end the answer, besides the end of a sequence."""
    opening: tuple[int, ...] = ()
    """Tokens that may precede the words of the answer and are not part of it."""


class Task(ABC, Generic[E]):
    """One thing that a model can be trained to do. Stateless: one instance serves a whole process."""

    facts: ClassVar[TaskFacts]
    cuts: ClassVar[bool] = False
    """Whether a long example becomes several samples."""

    @property
    @abstractmethod
    def objective(self) -> "Objective[Any]":
        """How samples become a loss. Imported on first use, because it needs torch."""

    def layout(self, field: str, columns: Columns, first: FirstRows | None) -> Layout:
        """Return the layout of a file; `first` are its first rows, None before it is read.

        Raises InputError if the job names a column that only other tasks have.
        """
        others = [name for name in Columns.model_fields if name not in (*self.facts.columns, "ignore")]
        refuse_columns(field, columns, others, f"task {self.facts.name} reads {self.facts.row}")
        names = [name for name in (first.names if first else []) if name not in (columns.ignore or ())]
        return self.choose_columns(field, columns, names, first)

    @abstractmethod
    def choose_columns(self, field: str, given: Columns, names: list[str], first: FirstRows | None) -> Layout:
        """Return which of the columns `names` play which role, as the job says or by their names."""

    @abstractmethod
    def column_advice(self, layout: Layout, column: str, first: FirstRows) -> str:
        """Return a fix for rows that lack a required column."""

    @abstractmethod
    def read(self, row: Row) -> E | Skipped:
        """Return the example in a row, or why it is left out; raises InputError for one that cannot be learned as written."""

    @abstractmethod
    def vary(self, example: E, change: Callable[[str], str]) -> E:
        """Apply `change` to the texts that augmentation may touch: what the model reads, never what it must answer."""

    @abstractmethod
    def encode(self, example: E, tokenizer: Any, max_length: int) -> list[Piece[E]]:
        """Return the samples of an example, each of at most `max_length` tokens."""

    def encode_all(self, examples: Iterable[E], tokenizer: Any, max_length: int) -> Iterator[list[Piece[E]]]:
        """Yield what `encode` returns for each example; a task that can tokenize several at once does so, in bounded memory."""
        return (self.encode(example, tokenizer, max_length) for example in examples)

    def part(self, piece: Piece[E], tokenizer: Any) -> E:
        """Return the part of the example that a piece was made from, as an example: augmentation varies this."""
        return piece.example

    def encode_part(self, piece: Piece[E], varied: E, tokenizer: Any, max_length: int) -> Sample:
        """Return the sample of a piece whose part augmentation has varied."""
        return self.encode(varied, tokenizer, max_length)[0].tokens

    def count(self, examples: Sequence[E], tokenizer: Any, max_length: int) -> PieceCount:
        """Return the number of samples that `examples` make."""
        return PieceCount(len(examples))

    def request(self, example: E, tokenizer: Any) -> Request | None:
        """Return what a held-out row asks of the model; None for tasks without questions."""
        return None

    def prepare(self, tokenizer: Any, moment: str | None) -> None:
        """Set up the tokenizer for this task. `moment` is the run's fixed current time (ISO); None means the real time."""

    def depends_on_time(self, tokenizer: Any) -> bool:
        """Return whether samples depend on the current time."""
        return False

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Raise InputError for a tokenizer that this task cannot use."""

    def sampled(self, name: str, examples: Sequence[E], tokenizer: Any, max_length: int, keep: Keep = in_memory) -> Sampled[E]:
        """Return the rows of a data set as the model will see them; raises InputError for one that cannot be learned as written.

        `keep` stores the pieces if every example is one piece; a task that checks only a sample of the rows keeps it in memory.
        """
        pieces = (piece for found in self.encode_all(examples, tokenizer, max_length) for piece in found)
        return Sampled(name, len(examples), len(examples), (in_memory if self.cuts else keep)(name, examples, pieces))

    @abstractmethod
    def findings(self, sides: Sequence[Sampled[E]], tokenizer: Any) -> list[str]:
        """Return this task's own warnings about the rows of all data sets; the training rows come first in `sides`."""
