"""predictions.jsonl: what both models said about each test row, beside what was right, so that people can read the figures' rows.

One line for each row that was asked, in their order. A kind of evidence that people can read has a function in `READABLE`. Pure.
Test: tests/trainer/reporting/test_predictions.py.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from finetune.api.metrics import Needs
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.metrics.evidence import Classified
from trainer.evaluation.turns import in_turns

TOP = 3
"""Classes of a row whose probabilities are given, besides those that were chosen."""
Line = dict[str, Any]


class Shown(Protocol):
    """A test row, as far as it is needed here."""

    @property
    def shown(self) -> str:
        """What the model reads of it."""

    @property
    def read_beside(self) -> str:
        """The text that its question is about; empty if there is none."""

    @property
    def source(self) -> str:
        """The data source of the row."""

    @property
    def group(self) -> str:
        """What figures are also given for apart."""


def predictions_of(base: Measurement, tuned: Measurement, examples: Sequence[Shown]) -> list[Line]:
    """Return a line for each row that both models were asked about; `examples` are all test rows, in their order."""
    lines: list[Line] = []
    for needs, found in tuned.evidence.items():
        readable, before = READABLE.get(needs), base.evidence.get(needs)
        if readable is not None and before is not None:
            lines += readable(before, found, examples)
    return lines


def json_lines(lines: Sequence[Line]) -> str:
    """Return the text of the file."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _answers(base: Any, tuned: Any, examples: Sequence[Shown]) -> Iterator[Line]:
    """Yield the answers in text.

    Rows of a task whose questions are about a text are all asked, or in turns, so that they are those of `in_turns` here too.
    """
    asked = in_turns(examples, len(tuned))
    for before, after, example in zip(base.predictions, tuned.predictions, asked, strict=True):
        yield {
            "input": after.prompt,
            **({"context": example.read_beside} if example.read_beside else {}),
            "references": list(after.references),
            "base": before.answer,
            "tuned": after.answer,
            "baseCut": before.cut,
            "tunedCut": after.cut,
            "source": after.source,
            "group": after.group,
        }


def _spans(base: Any, tuned: Any, examples: Sequence[Shown]) -> Iterator[Line]:
    """Yield the same of answers that are part of a text; a question that it does not answer has no reference."""
    for line in _answers(base, tuned, examples):
        yield line | {"references": [text for text in line["references"] if text]}


def _classes(base: Any, tuned: Any, examples: Sequence[Shown]) -> Iterator[Line]:
    """Yield the chosen classes, with the probabilities of the likeliest."""
    for row, (example, prediction) in enumerate(zip(examples, tuned.predictions, strict=True)):
        yield {
            "input": example.shown,
            "labels": [tuned.names[index] for index in prediction.gold],
            "base": _chosen(base, row),
            "tuned": _chosen(tuned, row),
            "baseProbabilities": _likeliest(base, row),
            "tunedProbabilities": _likeliest(tuned, row),
            "source": prediction.source,
            "group": prediction.group,
        }


def _chosen(found: Classified, row: int) -> list[str]:
    return [name for name, chosen in zip(found.names, found.chosen[row], strict=True) if chosen]


def _likeliest(found: Classified, row: int) -> list[Line]:
    """Return all classes that were chosen, and at least `TOP`, the likeliest first."""
    order = sorted(range(len(found.names)), key=lambda index: -found.probabilities[row, index])
    count = max(TOP, int(found.chosen[row].sum()))
    return [{"label": found.names[index], "probability": float(found.probabilities[row, index])} for index in order[:count]]


READABLE: Mapping[Needs, Callable[[Any, Any, Sequence[Shown]], Iterator[Line]]] = {
    Needs.GENERATED_TEXT: _answers, Needs.SPANS: _spans, Needs.CLASSES: _classes,
}  # fmt: skip
