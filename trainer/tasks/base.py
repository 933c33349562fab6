"""A task, as the rest of the trainer sees it: how a row is read, varied, tokenized, evaluated and checked.

`read` turns a record into an example; duplicates and splits are found by its content and prompt key; `vary` changes what
augmentation may touch; `encode` makes samples, which the objective collates. A held-out row becomes a `request`, which a predictor
answers. Nothing outside trainer/tasks checks which task it has. Test: tests/trainer/tasks/test_conformance.py.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self

from finetune.api.columns import Columns
from finetune.api.tasks import ModelFamily, Route, TaskFacts
from trainer.data.layout import FirstRows, Layout, refuse_columns
from trainer.data.reading import Languages, Row
from trainer.data.rows import E, Piece, PieceCount, Sample, Skipped
from trainer.data.sampled import Keep, Sampled, in_memory

if TYPE_CHECKING:  # torch takes seconds, and rows are checked before it is needed
    from transformers import PreTrainedConfig

    from trainer.objectives.base import Objective


TRAIN = "data.train"
"""The data set that is learned; others are measured."""
SOME_ANSWER = "answer"
"""Takes the place of the answer in a row that is only asked about; no model sees it."""


@dataclass(frozen=True)
class Request:
    """What a held-out row asks of the model. Each kind has a predictor; the model never sees the reference."""

    references: tuple[str, ...]
    """The expected answers, at least one: any of them is right."""
    shown: str
    """The question in readable form, for reports."""
    group: str = field(default="", kw_only=True)
    """What figures are also given for apart, such as a pair of languages: the example's `group`."""


@dataclass(frozen=True)
class Generate(Request):
    """A request for text that continues a prompt."""

    prompt: Sequence[int]
    """Token ids; of an encoder-decoder, those that its encoder reads."""
    stops: frozenset[int] = frozenset()
    """Tokens that end the answer, besides the end of a sequence."""
    opening: tuple[int, ...] = ()
    """Tokens that may precede the words of the answer and are not part of it."""
    forced_first: int | None = None
    """The token that an encoder-decoder's answer is made to begin with, such as that of a language; all requests have one, or none."""


@dataclass(frozen=True)
class Extract(Request):
    """A request for the part of a text that answers a question."""

    question: str
    context: str
    may_lack: bool = False
    """Whether the text may hold no answer."""


@dataclass(frozen=True)
class Classify(Request):
    """A request for the class of a text, or for its classes."""

    text_ids: tuple[int, ...]
    """The tokens of the text."""
    closing: int
    """How many of them, at the end, say that it ends."""
    classes: tuple[str, ...]
    several: bool = False
    """Whether the text may have any number of classes."""


@dataclass(frozen=True)
class Fill(Request):
    """A request for the tokens that a text lacks."""

    text_ids: tuple[int, ...]
    """The tokens of the text, with the mask token where one is asked for."""
    mask: int


def lacks_words(value: Any) -> bool:
    """Return whether a column holds nothing, a text of only white space, or a list of nothing else."""
    if isinstance(value, list):
        return all(map(lacks_words, value))
    return value is None or (isinstance(value, str) and not value.strip())


class Task(ABC, Generic[E]):
    """One thing that a model can be trained to do. One that knows its rows travels to the ranks; it is a value, as all of them are."""

    facts: ClassVar[TaskFacts]
    family: ClassVar[ModelFamily]
    """The kind of model that learns it in this way."""
    cuts: ClassVar[bool] = False
    """Whether a long example becomes several samples."""
    rewritable: ClassVar[bool] = True
    """Whether a model may write other texts in place of those that augmentation touches: not where they are what is learned."""
    answers: ClassVar[tuple[str, ...]] = ()
    """Columns (members of `columns`) that a row needs to be learned from, and not to be asked about."""

    known: tuple[str, ...] = ()
    """What was learned of the training rows, such as the names of the classes."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Task) and self.known == other.known

    def __hash__(self) -> int:
        return hash((type(self), self.known))

    def knowing(self, train: Sequence[E]) -> "Task[E]":
        """Return the task with what it must know of the training rows before a model is loaded; raises InputError where they do not fit."""
        return self

    def untaught(self, train: Iterable[E], others: Iterable[E]) -> Mapping[int, tuple[str, ...]]:
        """Return the names of classes that no row of `train` has, by the index in `others` of a row that has them."""
        return {}

    def check_held_out(self, rows: Iterable[E], *, trained: bool = False) -> None:
        """Raise InputError for rows that no answer could be right for, with what is known of the training rows.

        With `trained`, it is known of a model that is measured.
        """

    def fitting(self, tokenizer: Any) -> "Task[E]":
        """Return the task with what training must know of the tokenizer, on every rank."""
        return self

    def recalling(self, configuration: "PreTrainedConfig") -> "Task[E]":
        """Return the task with what it must know, as the configuration of a model that was trained for it holds it."""
        return self

    def with_known(self, known: Sequence[str]) -> Self:
        """Return the task with what it knew of the training rows of an earlier run."""
        found = copy.copy(self)
        found.known = tuple(known)
        return found

    @property
    def route(self) -> Route:
        """What is measured, and what the model is judged by."""
        return self.facts.on(self.family)

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

    def unlearned(self, example: E) -> str:
        """Return why a row is only measured, left out of the training rows and of what a user asks; empty for one that is learned."""
        return ""

    @abstractmethod
    def vary(self, example: E, change: Callable[[str], str]) -> E:
        """Apply `change` to the texts that augmentation may touch: what the model reads, never what it must answer."""

    @abstractmethod
    def encode(self, example: E, tokenizer: Any, max_length: int) -> list[Piece[E]]:
        """Return the samples of an example, each of at most `max_length` tokens."""

    def encode_all(self, examples: Iterable[E], tokenizer: Any, max_length: int) -> Iterator[list[Piece[E]]]:
        """Yield what `encode` returns for each example; a task that can tokenize several at once does so, in bounded memory."""
        return (self.encode(example, tokenizer, max_length) for example in examples)

    def on(self, side: str) -> "Task[E]":
        """Return the task as it tokenizes a data set, such as data.test: what is measured must not profit from a known answer."""
        return self

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

    def is_likely(self, tokenizer: Any) -> bool:
        """Return whether a model of which only this tokenizer and its kind are known is one for this task, rather than a later one."""
        return True

    def answered(self, values: Mapping[str, Any], layout: Layout, languages: Languages | None = None) -> dict[str, Any]:
        """Return the columns of a row that is to be asked about, with some answer if it has none, so that `read` takes it.

        `languages` are those of a source of translations.
        """
        columns = [layout.columns[role] for role in self.answers if role in layout.columns]
        return {**values, **{column: SOME_ANSWER for column in columns if lacks_words(values.get(column))}}

    def ask(self, example: E, tokenizer: Any) -> Request:
        """Return what an example asks of a model in use; its answer makes no difference."""
        found = self.request(example, tokenizer)
        if found is None:
            raise NotImplementedError(f"{type(self).__name__} asks nothing in an evaluation, so it needs its own `ask`")
        return found

    def prepare(self, tokenizer: Any, moment: str | None) -> None:
        """Set up the tokenizer for this task. `moment` is the run's fixed current time (ISO); None means the real time.

        A task that writes nothing with the chat template takes it away: an exported model has only what it was trained with.
        """
        tokenizer.chat_template = None

    def wording(self, languages: tuple[str, str] | None, tokenizer: Any) -> str | None:
        """Return what is written around a text that the model is asked about, with {text} in its place, for the model card.

        None where more than words has to be given.
        """
        return "{text}"

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
