"""Figures of spans: the answers to all rows are compared with all right answers, and with none where there is none."""

from typing import Any

import pytest
import torch

from finetune.api.evaluation import Generation
from finetune.api.metrics import MetricName, Needs
from tests.trainer.fixtures.encoders import bert_tokenizer, tiny_encoder
from trainer.engine.inference import OneProcess
from trainer.evaluation.evaluator import measure
from trainer.evaluation.heldout import HeldOut
from trainer.evaluation.metrics.evidence import Answers, Prediction
from trainer.objectives.base import probed_forward
from trainer.objectives.span import SPANS
from trainer.tasks.question_answering import FoundAnswers
from trainer.text.questions import Answer, QuestionExample
from trainer.training.batches import AtOnce

NAMES = (MetricName.SQUAD_EXACT_MATCH, MetricName.SQUAD_F1)
CONTEXT = "Ann came on Monday, Ben on Tuesday."


def example(number: int, *answers: str) -> QuestionExample:
    found = [Answer(text, CONTEXT.find(text)) for text in answers]
    return QuestionExample.of(f"data.test[{number % 2}] line {number}", f"Who {number}?", CONTEXT, found)


EXAMPLES = [example(0, "Ann", "Ben"), example(1), example(2, "Tuesday")]


def task_knowing(*known: str) -> FoundAnswers:
    task = FoundAnswers()
    task.known = known
    return task


def measured(task: FoundAnswers, rows: int = 2, length: int = 60) -> Any:
    model = tiny_encoder("AutoModelForQuestionAnswering", max_position_embeddings=128)
    engine = OneProcess(model, torch.device("cpu"))
    held_out = HeldOut(task, bert_tokenizer(), EXAMPLES, [], AtOnce(rows), length, Generation())
    return measure(engine, probed_forward(model, engine.forward, SPANS), held_out, NAMES)


def test_every_row_has_an_answer_with_all_that_is_right() -> None:
    found = measured(task_knowing())
    evidence = found.evidence[Needs.SPANS]
    assert isinstance(evidence, Answers)
    assert [row.references for row in evidence.predictions] == [("Ann", "Ben"), ("",), ("Tuesday",)]
    assert [row.source for row in evidence.predictions] == ["data.test[0]", "data.test[1]", "data.test[0]"]
    assert all(row.answer and row.answer in CONTEXT for row in evidence.predictions), "without rows that lack an answer none is lacking"
    assert tuple(found.figures) == NAMES


@pytest.mark.parametrize("rows", [1, 3])
def test_figures_do_not_depend_on_the_batch(rows: int) -> None:
    assert measured(task_knowing("no answer"), rows) == measured(task_knowing("no answer"), 2)


def test_a_right_answer_counts_whichever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.evaluation.spans import Extracted

    given = iter([Extracted("Ben", False), Extracted("", False), Extracted("on Tuesday", False)])
    monkeypatch.setattr("trainer.evaluation.measuring.spans.extract", lambda *_: list(given))
    found = measured(task_knowing("no answer"))
    assert found.values()[MetricName.SQUAD_EXACT_MATCH] == pytest.approx(200 / 3)
    assert found.values()[MetricName.SQUAD_F1] == pytest.approx((100 + 100 + 200 / 3) / 3)
    assert list(found.predictions) == [
        Prediction("Who 0?", ("Ann", "Ben"), "Ben", source="data.test[0]"),
        Prediction("Who 1?", ("",), "", source="data.test[1]"),
        Prediction("Who 2?", ("Tuesday",), "on Tuesday", source="data.test[0]"),
    ]
