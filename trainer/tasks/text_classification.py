"""Text classification: the model says which class a text belongs to, or which of several; sentiment is one such task.

An encoder gets a head with one output for each class, other models write the name of the class. Tests:
tests/trainer/tasks/test_conformance.py, test_text_classification.py.
"""

import difflib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from finetune.api.columns import LABEL_NAMES, TEXT_NAMES, Columns
from finetune.api.errors import InputError
from finetune.api.metrics import MetricName
from finetune.api.tasks import TASKS as FACTS
from finetune.api.tasks import ModelFamily, Route, TaskName
from trainer.data.layout import FirstRows, Layout, mapping, texts_of
from trainer.data.reading import Row
from trainer.data.rows import Piece, Sample, Skipped
from trainer.data.sampled import Sampled, count_of, some_of
from trainer.tasks.answered import AnsweredText
from trainer.tasks.base import Classify, Task
from trainer.tasks.pairs import AskedText
from trainer.text.batches import in_batches
from trainer.text.encoding import around, encode_text, encode_texts
from trainer.text.findings import text_findings
from trainer.text.label import LabelExample, in_order, labels_in
from trainer.text.labelfindings import class_findings

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from trainer.objectives.classification import ClassificationObjective

ONE, SEVERAL = "one label", "several labels"
"""First of what the task knows: how many labels a row may have. The names of the classes follow."""

LISTED_CLASSES, LISTED_CHARACTERS = 20, 400
"""Names of classes that a question lists, at most: each of them is read in every row."""
NONE_OF_THEM = "none"


class Labels(Task[LabelExample]):
    """What all ways have in common: the rows, and the classes in them."""

    facts = FACTS[TaskName.TEXT_CLASSIFICATION]
    answers = ("label",)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by index; empty before training rows are known."""
        return self.known[1:]

    @property
    def several(self) -> bool:
        """Whether a row may have any number of labels."""
        return self.known[:1] == (SEVERAL,)

    def knowing(self, train: Sequence[LabelExample]) -> "Task[LabelExample]":
        """Return the task with the classes of the training rows; raises InputError if there is nothing to tell apart."""
        names, several = set[str](), False
        for example in train:
            names.update(example.labels)
            several = several or example.listed
        least = 1 if several else 2
        if len(names) < least:
            problem = f"all training rows have the class {min(names)!r}" if names else "no training row has a class"
            raise InputError("data.train", f"{problem}, so there is nothing to learn", "give rows of at least two classes")
        return self.with_known((SEVERAL if several else ONE, *in_order(names)))

    def choose_columns(self, field: str, given: Columns, names: list[str], first: FirstRows | None) -> Layout:
        """Choose the columns that the job names, else those with the default names, else the only ones with well-known names."""
        text, label = given.text or _only(TEXT_NAMES, names), given.label or _only(LABEL_NAMES, names)
        guessed = (given.text is None and text != TEXT_NAMES[0]) or (given.label is None and label != LABEL_NAMES[0])
        return Layout({"text": text, "label": label}, guessed=guessed)

    def column_advice(self, layout: Layout, column: str, first: FirstRows) -> str:
        """Suggest the column with the longest texts, and another one for the classes."""
        texts = sorted(texts_of(first, 1), key=first.length, reverse=True)
        others = [name for name in first.names if name not in texts[:1]]
        if not texts or not others:
            return "give rows with a text and its class, and name both in columns"
        return f"write columns: {mapping({'text': texts[0], 'label': others[0] if len(others) == 1 else '…'})}"

    def read(self, row: Row) -> LabelExample | Skipped:
        """Return the row's text with its classes; a row that lacks one of them is skipped."""
        row.refuse_meaning()
        text, labels = row.words("text"), labels_in(row)
        if isinstance(text, Skipped):
            return text
        return labels if isinstance(labels, Skipped) else LabelExample.of(row.origin, text, labels[0], listed=labels[1])

    def vary(self, example: LabelExample, change: Callable[[str], str]) -> LabelExample:
        """Change the text, never the classes."""
        return replace(example, text=change(example.text))

    def checked(self, examples: Iterable[LabelExample]) -> Iterator[LabelExample]:
        """Yield the examples; raises InputError for one with another class, or number of classes, than the training rows have."""
        known = frozenset(self.classes)
        for example in examples:
            if not self.several and len(example.labels) != 1:
                problem = f"{example.origin}: the row has {len(example.labels)} labels, and each training row has one"
                fix = "give it one label, or write the labels of training rows as lists for a model that may choose several"
                raise InputError(example.source, problem, fix)
            if not known.issuperset(example.labels):
                self.check_held_out([example])
            yield example

    def untaught(self, train: Iterable[LabelExample], others: Iterable[LabelExample]) -> dict[int, tuple[str, ...]]:
        """Return the classes that no row of `train` has."""
        taught = {label for example in train for label in example.labels}
        named = ((place, tuple(label for label in example.labels if label not in taught)) for place, example in enumerate(others))
        return {place: lacking for place, lacking in named if lacking}

    def check_held_out(self, rows: Iterable[LabelExample], *, trained: bool = False) -> None:
        """Raise InputError for rows of classes that are not known, with the number of all of them and the place of the first."""
        known, unknown, count, first = frozenset(self.classes), set[str](), 0, None
        for example in rows:
            if not known.issuperset(example.labels):
                count, first = count + 1, first or example
                unknown.update(example.labels)
        if first is None:
            return
        names, one = in_order(unknown - known), count == 1
        has = "has a class" if one else "have classes"
        why = "the model was not trained for" if trained else "no training row has"
        whose = "it knows" if trained else "they have"
        where = f"({'' if one else 'the first: '}{first.origin}; {whose} {some_of(self.classes)})"
        label = next(label for label in first.labels if label not in known)
        close = difflib.get_close_matches(label, self.classes, n=1)
        hint = f"did you mean {close[0]!r} by {label!r}? Else " if close else ""
        leave = f"leave the {'row' if one else 'rows'} out"
        fix = leave if trained else f"give training rows of {'it' if len(names) == 1 else 'them'}, or {leave}"
        raise InputError(first.source, f"{count_of(count)} {has} that {why}: {some_of(names)} {where}", f"{hint}{fix}")


class ChosenClasses(Labels):
    """Choose the class with a head that has one output for each."""

    family = ModelFamily.ENCODER

    @property
    def objective(self) -> "ClassificationObjective":
        """Cross-entropy over the classes; imports torch."""
        from trainer.objectives.classification import ClassificationObjective

        return ClassificationObjective(self.classes, self.several)

    @property
    def route(self) -> Route:
        """What is measured; with several labels a row the score is micro F1, because all must be right for a row to count as right."""
        return replace(super().route, score=MetricName.MICRO_F1) if self.several else super().route

    def recalling(self, configuration: "PreTrainedConfig") -> "Task[LabelExample]":
        """Return the task with the classes that a model's configuration names."""
        several = getattr(configuration, "problem_type", None) == "multi_label_classification"
        names = {int(number): name for number, name in configuration.id2label.items()}
        return self.with_known((SEVERAL if several else ONE, *(names[number] for number in sorted(names))))

    def encode(self, example: LabelExample, tokenizer: Any, max_length: int) -> list[Piece[LabelExample]]:
        """Tokenize the text, cut after `max_length` tokens, with its classes as the tail; InputError for a class that is not known."""
        (pieces,) = self.encode_all([example], tokenizer, max_length)
        return pieces

    def encode_all(self, examples: Iterable[LabelExample], tokenizer: Any, max_length: int) -> Iterator[list[Piece[LabelExample]]]:
        """Tokenize texts in batches, on all cores."""
        numbers = {name: number for number, name in enumerate(self.classes)}
        _, after = around(tokenizer)
        for batch in in_batches(self.checked(examples), lambda example: len(example.text)):
            found = encode_texts([example.text for example in batch], tokenizer, offsets_from=sys.maxsize)
            for example, encoded in zip(batch, found, strict=True):
                ids, whole = encoded.input_ids, len(encoded.input_ids) <= max_length
                read = ids if whole else [*ids[: max_length - len(after)], *after]
                chosen = [numbers[label] for label in example.labels]
                tail = [int(number in chosen) for number in range(len(numbers))] if self.several else chosen
                mask = b"\0" * len(read) + b"\1" * len(tail)
                yield [Piece(example, Sample(example.id, [*read, *tail], mask, 0, truncated=not whole, tail=len(tail)))]

    def ask(self, example: LabelExample, tokenizer: Any) -> Classify:
        """Ask for the class of the text, or for its classes."""
        text_ids = tuple(encode_text(example.text, tokenizer).input_ids)
        return Classify((example.answer,), example.text, text_ids, len(around(tokenizer)[1]), self.classes, self.several)

    def findings(self, sides: Sequence[Sampled[LabelExample]], tokenizer: Any) -> list[str]:
        """Report rare and uneven classes, and control-token names in texts."""
        words = (finding for side in sides for finding in text_findings(side, tokenizer))
        return [*class_findings(sides[0].examples, self.classes), *words]


def _only(known: tuple[str, ...], names: Sequence[str]) -> str:
    """Return the default name if it is there, else the only one that is known, else the default again."""
    found = [name for name in known if name in names]
    return found[0] if len(found) == 1 and known[0] not in names else known[0]


class Named(Labels):
    """Write the name of the class, or the names of all that apply: what both kinds of models that write have in common."""

    def shown(self, example: LabelExample) -> str:
        """Return the text."""
        return example.text

    def references(self, example: LabelExample) -> tuple[str, ...]:
        """Return the name of the class; where none of several applies, the word for that."""
        return (example.answer or NONE_OF_THEM,)

    def encode_all(self, examples: Iterable[LabelExample], tokenizer: Any, max_length: int) -> Iterator[list[Piece[LabelExample]]]:
        """Tokenize in batches; InputError for a class that is not known, as the chosen classes have it, once training rows are known."""
        return super().encode_all(self.checked(examples) if self.known else examples, tokenizer, max_length)


class WrittenClasses(Named, AskedText[LabelExample]):
    """Write it when asked in a chat."""

    def question(self, example: LabelExample) -> str:
        """Return the instruction, with the names of the classes if they are few and short, and the text, which comes last."""
        names = ", ".join(self.classes)
        which = "Which classes does this text have?" if self.several else "Which class does this text have?"
        if len(self.classes) <= LISTED_CLASSES and len(names) <= LISTED_CHARACTERS:
            which = f"Which of these classes does this text have: {names}?"
        return f"{which}{' Separate them by commas.' if self.several else ''}\n\n{example.text}"

    def wording(self, languages: tuple[str, str] | None, tokenizer: Any) -> str:
        """Return the question about a text."""
        return self.question(LabelExample.of("", "{text}", ()))

    def findings(self, sides: Sequence[Sampled[LabelExample]], tokenizer: Any) -> list[str]:
        """Report rare and uneven classes, and what chats are checked for."""
        return [*class_findings(sides[0].examples, self.classes), *super().findings(sides, tokenizer)]


class AnsweredClasses(Named, AnsweredText[LabelExample]):
    """Write it of what an encoder reads: the text alone, as T5 learned tasks with few answers; the classes are in the training rows."""

    def given(self, example: LabelExample) -> str:
        """Return the text."""
        return example.text

    def findings(self, sides: Sequence[Sampled[LabelExample]], tokenizer: Any) -> list[str]:
        """Report rare and uneven classes, and control-token names in texts."""
        words = (finding for side in sides for finding in text_findings(side, tokenizer))
        return [*class_findings(sides[0].examples, self.classes), *words]


CHOSEN_CLASSES, WRITTEN_CLASSES, ANSWERED_CLASSES = ChosenClasses(), WrittenClasses(), AnsweredClasses()
TASKS = (CHOSEN_CLASSES, WRITTEN_CLASSES, ANSWERED_CLASSES)
