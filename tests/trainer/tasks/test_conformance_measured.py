"""How every task, whatever it is, is asked, trained and measured. Runs over the whole table of tasks, as test_conformance.py does."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from finetune.api.columns import Columns
from finetune.api.evaluation import Generation
from finetune.api.metrics import MetricName, Needs
from tests.trainer.fixtures.kinds import tiny_model_for
from tests.trainer.tasks.conforming import encoded, read
from tests.trainer.tasks.samples import SAMPLES
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.evaluation.evaluator import measure
from trainer.evaluation.heldout import HeldOut
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.measuring.registry import ways
from trainer.objectives.base import probed_forward
from trainer.objectives.penalties import Penalties
from trainer.outputs import logits_of
from trainer.tasks.base import Generate, Request, Task
from trainer.text.languages import languages_of
from trainer.training.batches import AtOnce
from trainer.using.asking import Asked, ask


def test_the_wording_for_a_model_card_is_what_a_row_is_asked_with(task: Task[Any], prepared: Any) -> None:
    for example in read(task):
        request = task.request(example, prepared)
        languages, text = languages_of(getattr(example, "languages", "")), getattr(example, "given", getattr(example, "text", None))
        wording = task.wording(languages, prepared)
        assert wording is not None
        assert wording.count("{text}") == 1
        if isinstance(request, Generate) and isinstance(text, str):
            assert wording.replace("{text}", text) in prepared.decode(request.prompt)


def test_a_request_does_not_hold_its_reference(task: Task[Any], prepared: Any) -> None:
    for example, row in zip(read(task), SAMPLES[task.facts.name].rows, strict=True):
        request = task.request(example, prepared)
        given = [value for name, value in row.values.items() if name not in task.answers and isinstance(value, str)]
        assert (request is not None) == (not {Needs.GENERATED_TEXT, Needs.SPANS}.isdisjoint(task.route.measured_from))
        assert request is None or isinstance(request, Request)
        if isinstance(request, Generate):
            assert request.references[0] == (example.answer or "").strip()
            # The text that a question is about may hold the answer; it is the only place.
            held = {reference for reference in request.references if any(reference in words for words in given)}
            held.update(task.known)  # the names of all classes, which a question may list
            assert not any(reference in prepared.decode(request.prompt) for reference in set(request.references) - held)
            assert request.shown or not any(given), "a question that has words shows some"
            assert list(encoded(task, example, prepared)[0].input_ids)[: len(request.prompt)] == list(request.prompt), (
                "it is not as trained"
            )


def test_the_loss_of_a_batch_is_the_sum_of_its_rows(task: Task[Any]) -> None:
    objective, (model, tokenizer) = task.objective, tiny_model_for(task)
    samples = [sample for example in read(task) for sample in encoded(task, example, tokenizer, 100)]
    forward = probed_forward(model, lambda **inputs: logits_of(model(**inputs)), objective.family)
    alone = [objective.loss(forward, objective.collate([sample]), Penalties(0.1)) for sample in samples]
    together, batch = objective.loss(forward, objective.collate(samples), Penalties(0.1)), objective.collate(samples)
    assert float(together.objective.detach()) == pytest.approx(sum(float(sums.objective.detach()) for sums in alone), rel=1e-5)
    assert float(together.nll) == pytest.approx(sum(float(sums.nll) for sums in alone), rel=1e-5)
    assert batch.units == sum(objective.collate([sample]).units for sample in samples)
    with torch.no_grad():
        assert objective.nll(forward, batch).tolist() == pytest.approx([float(sums.nll) for sums in alone], rel=1e-5)


def measured(task: Task[Any], names: Sequence[MetricName]) -> Measurement:
    """Return the figures of the task's rows, of a tiny model."""
    examples, (model, tokenizer) = read(task), tiny_model_for(task)
    engine = DdpEngine(model, EngineSettings(AdamW(0.0), 1.0, 4, 1), torch.device("cpu"))
    samples = [sample for example in examples for sample in encoded(task, example, tokenizer, 100)]
    forward = probed_forward(engine.model, engine.forward, task.objective.family)
    held_out = HeldOut(task, tokenizer, examples, samples, AtOnce(2, 200), 100, Generation(max_new_tokens=4))
    return measure(engine, forward, held_out, names)


def test_the_objective_trains_a_family_of_models_that_the_task_s_facts_list(task: Task[Any]) -> None:
    assert task.objective.family.kind is task.family


def test_every_metric_of_the_task_is_measured(task: Task[Any]) -> None:
    found = measured(task, task.route.metrics)
    assert tuple(found.figures) == task.route.metrics
    assert all(figure.value is not None or figure.reason for figure in found.figures.values())
    score = found.score(task.route.score, step=0)
    assert score is not None
    assert score.metric is task.route.score


def test_metrics_of_a_validation_are_measured_without_generating_answers(task: Task[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.evaluation.predictors.generate", lambda *_, **__: pytest.fail("an answer was generated"))
    found = measured(task, task.route.validated)
    assert tuple(found.figures) == task.route.validated
    assert task.route.score in found.values(), "a validation must be able to judge the model"


def test_there_is_a_way_to_measure_from_all_that_the_task_s_metrics_need(task: Task[Any]) -> None:
    assert set(task.route.measured_from) <= set(ways())


def test_a_row_asks_the_same_of_a_model_in_use_with_an_answer_and_without(task: Task[Any], prepared: Any) -> None:
    for example, row in zip(read(task), SAMPLES[task.facts.name].rows, strict=True):
        columns = task.layout("rows", Columns(), None).columns
        blank = {columns[role] for role in task.answers if role in columns}
        unanswered = {name: value for name, value in row.values.items() if name not in blank}
        found = [ask(task, prepared, values) for values in (row.values, unanswered)]
        with_answer, without = (asked.request for asked in found)

        if why := task.unlearned(example):
            assert found == [Asked(None, why)] * 2
            continue
        assert with_answer is not None
        assert without is not None
        assert replace(with_answer, references=()) == replace(without, references=())


def test_what_a_question_needs_beside_its_first_column_is_in_the_table(task: Task[Any]) -> None:
    first, *others = task.layout("rows", Columns(), None).columns

    assert task.facts.beside == tuple(role for role in others if role not in task.answers)
    assert first == task.facts.columns[0]
