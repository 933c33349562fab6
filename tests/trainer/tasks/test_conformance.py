"""What every task must do, whatever it is: the rest of the trainer relies on this. Runs over the whole table of tasks."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest
import torch

from finetune.api.errors import InputError
from finetune.api.metrics import MetricName
from finetune.api.sections import Generation
from finetune.api.sources import Columns
from finetune.api.tasks import TASKS, TaskName
from tests.trainer.fixtures.batches import forward_of
from tests.trainer.fixtures.causal import tiny_model, tiny_tokenizer
from tests.trainer.fixtures.stored import examples_of
from tests.trainer.fixtures.tokenizers import byte_tokenizer
from tests.trainer.tasks.samples import SAMPLES
from trainer.data.records import Record
from trainer.data.rows import Piece, Sample
from trainer.data.sampled import Sampled
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.evaluation.evaluator import MEASURED_BY, HeldOut, measure
from trainer.evaluation.measurement import Measurement
from trainer.objectives.base import probed_forward
from trainer.tasks.base import Generate, Task
from trainer.tasks.registry import task_of

LENGTHS = [8, 13, 32, 1000]
WHOLE = 1000


@pytest.fixture(params=list(TASKS), ids=[name.value for name in TASKS])
def task(request: pytest.FixtureRequest) -> Task[Any]:
    return task_of(request.param)


@pytest.fixture
def prepared(task: Task[Any]) -> Any:
    """The tokenizer with a token per byte, as the task wants it."""
    tokenizer = byte_tokenizer()
    task.prepare(tokenizer, None)
    task.check_tokenizer(tokenizer)
    return tokenizer


def read(task: Task[Any]) -> list[Any]:
    """Return the examples of the task's rows."""
    rows = SAMPLES[task.facts.name].rows
    return examples_of([Record(f"line {number}", row.values) for number, row in enumerate(rows, 1)], task=task)[0]


def learned(tokenizer: Any, samples: list[Sample]) -> str:
    """Return the text of the tokens with loss."""
    tokens = [token for row in samples for token, mark in zip(row.input_ids, row.loss_mask, strict=True) if mark]
    return str(tokenizer.decode(tokens, skip_special_tokens=True))


def encoded(task: Task[Any], example: Any, tokenizer: Any, length: int = WHOLE) -> list[Sample]:
    return [piece.tokens for piece in task.encode(example, tokenizer, length)]


def test_the_file_of_a_task_holds_the_row_of_its_name(task: Task[Any]) -> None:
    assert TASKS[task.facts.name] is task.facts
    assert task.facts.name in SAMPLES, "give sample rows of the task in tests/trainer/tasks/samples.py"


def test_each_row_is_kept_or_left_out_with_a_reason(task: Task[Any]) -> None:
    samples = SAMPLES[task.facts.name]
    given = [*(row.values for row in samples.rows), *samples.left_out]
    examples, noticed = examples_of([Record(f"line {number}", row) for number, row in enumerate(given, 1)], task=task)
    assert [example.origin for example in examples] == [f"data.train[0] line {number}" for number in range(1, len(samples.rows) + 1)]
    assert noticed.count + noticed.others.total() == len(samples.left_out)
    assert [said for said in noticed.findings("data.train[0]") if "left out" in said]


def test_columns_of_other_tasks_are_refused(task: Task[Any]) -> None:
    for name in {name for name in Columns.model_fields if name != "ignore"} - set(task.facts.columns):
        with pytest.raises(InputError, match=f"columns.{name}: has no meaning here: task {task.facts.name} reads"):
            task.layout("data.train[0]", Columns.model_validate({name: "a"}), None)


def test_examples_come_back_from_json_to_the_letter(task: Task[Any]) -> None:
    for example in read(task):
        wire = json.loads(json.dumps(example.to_wire()))
        assert type(example).from_wire(example.id, example.origin, wire) == example
        assert len(bytes.fromhex(example.prompt_key)) == 16


def test_only_what_is_meant_to_be_learned_has_loss(task: Task[Any], prepared: Any) -> None:
    for example, row in zip(read(task), SAMPLES[task.facts.name].rows, strict=True):
        samples = encoded(task, example, prepared)
        assert learned(prepared, samples) == row.learned
        assert not any(text in row.learned for text in row.only_read)
        whole = "".join(prepared.decode(sample.input_ids) for sample in samples)
        assert all(text in whole for text in row.only_read)
        assert sum(sample.loss_bytes for sample in samples) == len(row.learned.encode())
        assert all(len(sample.loss_mask) == len(sample.input_ids) and not sample.loss_mask[0] for sample in samples)


def test_where_to_end_is_learned(task: Task[Any], prepared: Any) -> None:
    for example in read(task):
        last = encoded(task, example, prepared)[-1]
        with_loss = [token for token, mark in zip(last.input_ids, last.loss_mask, strict=True) if mark]
        assert with_loss[-1] in prepared.all_special_ids


@pytest.mark.parametrize("length", LENGTHS)
def test_no_sample_is_longer_than_allowed(task: Task[Any], prepared: Any, length: int) -> None:
    examples = read(task)
    for example in examples:
        samples, [whole] = encoded(task, example, prepared, length), encoded(task, example, prepared)
        assert max(len(sample.input_ids) for sample in samples) <= length
        assert len({sample.id for sample in samples}) == len(samples)
        if task.cuts:
            assert sum(sum(sample.loss_mask) for sample in samples) == sum(whole.loss_mask)
        else:
            assert [list(sample.input_ids) for sample in samples] == [list(whole.input_ids)[:length]]
            assert samples[0].truncated == (len(whole.input_ids) > length)
    assert task.count(examples, prepared, length).pieces == sum(len(encoded(task, example, prepared, length)) for example in examples)


@pytest.mark.parametrize("length", LENGTHS)
def test_rows_that_are_tokenized_together_have_the_tokens_that_each_has_alone(task: Task[Any], prepared: Any, length: int) -> None:
    examples = read(task) * 2
    assert list(task.encode_all(examples, prepared, length)) == [task.encode(example, prepared, length) for example in examples]


def test_augmentation_changes_what_is_read_and_no_answer(task: Task[Any], prepared: Any) -> None:
    for example in read(task):
        seen: list[str] = []
        varied = task.vary(example, lambda text, seen=seen: seen.append(text) or f"{text} indeed")  # type: ignore[misc]
        assert seen, "nothing of it can be varied"
        assert (varied.id, varied.origin) == (example.id, example.origin)
        assert task.vary(example, lambda text: text) == example
        if example.answer is not None:
            assert varied.answer == example.answer
            assert learned(prepared, encoded(task, varied, prepared)) == learned(prepared, encoded(task, example, prepared))


@pytest.mark.parametrize("length", LENGTHS[1:])
def test_a_part_that_is_varied_keeps_its_id_and_stays_within_the_limit(task: Task[Any], prepared: Any, length: int) -> None:
    for example in read(task):
        for piece in task.encode(example, prepared, length):
            part = task.part(piece, prepared)
            assert part.id == piece.tokens.id
            varied = task.encode_part(piece, task.vary(part, lambda text: f"{text} indeed"), prepared, length)
            assert varied.id == piece.tokens.id
            assert len(varied.input_ids) <= length


def test_a_request_does_not_hold_its_reference(task: Task[Any], prepared: Any) -> None:
    for example in read(task):
        request = task.request(example, prepared)
        assert (request is not None) == task.facts.generates
        if isinstance(request, Generate):
            assert request.reference == (example.answer or "").strip()
            assert request.reference not in prepared.decode(request.prompt)
            assert request.shown
            assert list(encoded(task, example, prepared)[0].input_ids)[: len(request.prompt)] == list(request.prompt), (
                "it is not as trained"
            )


def test_the_loss_of_a_batch_is_the_sum_of_its_rows(task: Task[Any]) -> None:
    tokenizer, objective, model = tiny_tokenizer(), task.objective, tiny_model()
    task.prepare(tokenizer, None)
    samples = [sample for example in read(task) for sample in encoded(task, example, tokenizer, 100)]
    forward = probed_forward(model, lambda **inputs: model(**inputs).logits)
    alone = [objective.loss(forward, objective.collate([sample]), 0.1) for sample in samples]
    together, batch = objective.loss(forward, objective.collate(samples), 0.1), objective.collate(samples)
    assert float(together.objective.detach()) == pytest.approx(sum(float(sums.objective.detach()) for sums in alone), rel=1e-5)
    assert float(together.nll) == pytest.approx(sum(float(sums.nll) for sums in alone), rel=1e-5)
    assert batch.units == sum(objective.collate([sample]).units for sample in samples)
    with torch.no_grad():
        assert objective.nll(forward, batch) == pytest.approx(float(together.nll), rel=1e-5)


def measured(task: Task[Any], names: Sequence[MetricName]) -> Measurement:
    """Return the figures of the task's rows, of a tiny model."""
    tokenizer, examples = tiny_tokenizer(), read(task)
    task.prepare(tokenizer, None)
    engine = DdpEngine(tiny_model(), EngineSettings(AdamW(0.0), 1.0, 4, 1), torch.device("cpu"), bfloat16=False)
    samples = [sample for example in examples for sample in encoded(task, example, tokenizer, 100)]
    return measure(
        engine, forward_of(engine), HeldOut(task, tokenizer, examples, samples, 2, 200, 100, Generation(max_new_tokens=4)), names
    )


def test_the_objective_trains_a_family_of_models_that_the_task_s_facts_list(task: Task[Any]) -> None:
    assert task.objective.family.kind in task.facts.families


def test_every_metric_of_the_task_is_measured(task: Task[Any]) -> None:
    found = measured(task, task.facts.metrics)
    assert tuple(found.figures) == task.facts.metrics
    assert all(figure.value is not None or figure.reason for figure in found.figures.values())
    score = found.score(TaskName(task.facts.name), step=0)
    assert score is not None
    assert score.metric is task.facts.score


def test_metrics_of_a_validation_are_measured_without_generating_answers(task: Task[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.evaluation.predictors.generate", lambda *_, **__: pytest.fail("an answer was generated"))
    found = measured(task, task.facts.validated)
    assert tuple(found.figures) == task.facts.validated
    assert task.facts.score in found.values(), "a validation must be able to judge the model"


def test_there_is_a_way_to_measure_from_all_that_the_task_s_metrics_need(task: Task[Any]) -> None:
    assert set(task.facts.measured_from) <= set(MEASURED_BY)


def sampled_by(way: Callable[..., Sampled[Any]], task: Task[Any], *given: Any) -> tuple[Sampled[Any], list[Any]]:
    """Return what the doctor sees of a data set, and what was kept meanwhile: name, examples, whether all was made before, pieces."""
    kept: list[Any] = []

    def keep(name: str, examples: Sequence[Any], pieces: Iterable[Piece[Any]]) -> Sequence[Piece[Any]]:
        found = list(pieces)
        kept.append((name, examples, isinstance(pieces, Iterator), found))
        return found

    return way(task, *given, keep), kept


@pytest.mark.parametrize("own", [True, False], ids=["the task's own way", "the usual way"])
def test_pieces_of_a_task_that_cuts_nothing_are_kept_as_they_are_made(task: Task[Any], prepared: Any, own: bool) -> None:
    examples = read(task)
    side, kept = sampled_by(type(task).sampled if own else Task.sampled, task, "data.test", examples, prepared, WHOLE)
    pieces = [piece for example in examples for piece in task.encode(example, prepared, WHOLE)]
    assert (side.name, side.total, list(side.examples), list(side.pieces)) == ("data.test", len(examples), examples, pieces)
    assert kept == ([] if task.cuts else [("data.test", examples, True, pieces)])


def test_a_remarkable_row_is_reported_with_its_data_set_and_place(task: Task[Any], prepared: Any) -> None:
    (values, words), examples = SAMPLES[task.facts.name].remarkable, read(task)
    more = examples_of([Record("line 99", values)], task=task)[0]
    plain, remarkable = (task.sampled("data.test", rows, prepared, WHOLE) for rows in (examples, [*examples, *more]))
    train = task.sampled("data.train", examples, prepared, WHOLE)
    (found,) = set(task.findings([train, remarkable], prepared)) - set(task.findings([train, plain], prepared))
    assert found.startswith(f"data.test: {words}")
    assert "line 99" in found
