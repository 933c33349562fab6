"""Every metric as a module of the `evaluate` library that needs no network: `evaluate.load` would download and run a script.

`module(metric)` has the library's own `compute`, with these arguments:
- metrics of text: predictions (answers), references (a list of texts for each; a single text will do); if they matter, cut and group;
- of token sums: nll, tokens, bytes;
- of classes: predictions (probabilities), references (indices of the right classes); names, and several for rows of several labels.
It returns the value under the metric's name, and the whole figure under `figure`. datasets and evaluate are imported on first use,
which takes a second. Test: tests/trainer/evaluation/metrics/test_modules.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.api.evaluation import TextNormalization
from finetune.api.metrics import METRICS as FACTS
from finetune.api.metrics import MetricName
from trainer.evaluation.metrics.evidence import EVIDENCE, Answers, Classified, ClassPrediction, Evidence, Prediction, TokenRows

if TYPE_CHECKING:
    from trainer.evaluation.metrics.base import Figure, Metric

Columns = dict[str, Sequence[Any]]
Build = Callable[..., Evidence]


@dataclass(frozen=True)
class Form:
    """How evidence travels through the library's tables."""

    types: Mapping[str, str | list[str]]
    """The type of each column, in a list for a column of lists."""
    complete: Callable[[Columns], Columns]
    """Adds the columns that may be left out."""
    build: Build
    """Makes the evidence of columns and options."""


def module(metric: "Metric[Any]") -> Any:
    """Return the metric as an `evaluate.Metric` that works in memory."""
    return _module(metric.facts.name, metric.compute_here)


def run(metric: "Metric[Any]", answers: Answers) -> "Figure":
    """Compute a metric of text as such a module."""
    rows = answers.predictions
    figure: Figure = module(metric).compute(
        predictions=[row.answer for row in rows],
        references=[list(row.references) for row in rows],
        cut=[row.cut for row in rows],
        group=[row.group for row in rows],
        normalization=answers.normalization,
    )["figure"]
    return figure


def _module(name: MetricName, compute: Callable[[Any], "Figure"]) -> Any:
    import datasets
    import evaluate

    facts = FACTS[name]
    form = FORMS[EVIDENCE[facts.needs]]
    features = {
        column: datasets.Sequence(datasets.Value(kind[0])) if isinstance(kind, list) else datasets.Value(kind)
        for column, kind in form.types.items()
    }

    class Evaluated(evaluate.Metric):  # type: ignore[misc]
        def _info(self) -> evaluate.MetricInfo:
            return evaluate.MetricInfo(
                description=facts.description, citation="", inputs_description="", features=datasets.Features(features)
            )

        def compute(self, **given: Any) -> dict[str, Any]:
            """Compute the metric of these columns."""  # the library needs one to add to
            columns = {column: given.pop(column) for column in list(given) if column in form.types}
            found: dict[str, Any] = super().compute(**form.complete(columns), **given)
            return found

        def _compute(self, **given: Any) -> dict[str, Any]:
            figure = compute(form.build(**given))
            return {name.value: figure.value, "figure": figure}

    return Evaluated(keep_in_memory=True)


def _complete_answers(columns: Columns) -> Columns:
    count = len(columns["predictions"])
    references = [[texts] if isinstance(texts, str) else list(texts) for texts in columns.get("references", [[]] * count)]
    return {"cut": [False] * count, "group": [""] * count, **columns, "references": references}


def _answers(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    cut: Sequence[bool],
    group: Sequence[str],
    normalization: TextNormalization = TextNormalization.BASIC,
) -> Answers:
    rows = zip(predictions, references, cut, group, strict=True)
    return Answers(tuple(Prediction("", tuple(right), answer, ended, "", whose) for answer, right, ended, whose in rows), normalization)


def _token_rows(nll: Sequence[float], tokens: Sequence[int], bytes: Sequence[int]) -> TokenRows:  # noqa: A002 - the column's name
    return TokenRows(np.array(nll, np.float64), np.array(tokens, np.int64), np.array(bytes, np.int64))


def _classified(
    predictions: Sequence[Sequence[float]], references: Sequence[Sequence[int]], names: Sequence[str], several: bool = False
) -> Classified:
    rows = (ClassPrediction(tuple(right), tuple(found)) for found, right in zip(predictions, references, strict=True))
    return Classified(tuple(names), tuple(rows), several)


FORMS: Mapping[type[Evidence], Form] = {
    Answers: Form({"predictions": "string", "references": ["string"], "cut": "bool", "group": "string"}, _complete_answers, _answers),
    TokenRows: Form({"nll": "float64", "tokens": "int64", "bytes": "int64"}, lambda columns: columns, _token_rows),
    Classified: Form({"predictions": ["float64"], "references": ["int64"]}, lambda columns: columns, _classified),
}
