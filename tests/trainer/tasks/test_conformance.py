"""What every task must do, whatever it is: the rest of the trainer relies on this. Runs over the whole table of tasks."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from finetune.api.columns import Columns
from finetune.api.errors import InputError
from finetune.api.evaluation import Generation
from finetune.api.metrics import MetricName, Needs
from finetune.api.tasks import TASKS, ModelFamily, TaskName
from tests.trainer.fixtures.kinds import byte_tokenizer_for, read_by, tiny_model_for
from tests.trainer.fixtures.stored import examples_of
from tests.trainer.tasks.samples import SAMPLES
from trainer.chat.template import PLAIN_TEMPLATE
from trainer.data.masking import text_of
from trainer.data.records import Record
from trainer.data.rows import Piece, Sample
from trainer.data.sampled import Sampled
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.evaluation.evaluator import measure
from trainer.evaluation.heldout import HeldOut
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.measuring.registry import ways
from trainer.objectives.base import probed_forward
from trainer.objectives.classification import ClassificationObjective
from trainer.objectives.masked import MaskedObjective
from trainer.outputs import logits_of
from trainer.tasks.base import Generate, Request, Task
from trainer.tasks.registry import reader_of, task_of, tasks_named
from trainer.text.encoding import cut_source
from trainer.text.languages import languages_of
from trainer.text.questions import UNANSWERABLE
from trainer.training.batches import AtOnce
from trainer.using.asking import ask

LENGTHS = [8, 13, 32, 1000]
WHOLE = 1000


ROUTES = [(name, family) for name, facts in TASKS.items() for family in facts.families]


@pytest.fixture(params=ROUTES, ids=[f"{name.value}, {family.value}" for name, family in ROUTES])
def task(request: pytest.FixtureRequest) -> Task[Any]:
    found = task_of(*request.param)
    known = found.knowing(read(found))
    return known.fitting(byte_tokenizer_for(known))


@pytest.fixture
def prepared(task: Task[Any]) -> Any:
    """The tokenizer with a token per byte, as the task wants it."""
    return byte_tokenizer_for(task)


def read(task: Task[Any]) -> list[Any]:
    """Return the examples of the task's rows."""
    rows = SAMPLES[task.facts.name].rows
    return examples_of([Record(f"line {number}", row.values) for number, row in enumerate(rows, 1)], task=task)[0]


def writes(task: Task[Any]) -> bool:
    """Return whether the model's targets are the tokens of a text."""
    return task.family is not ModelFamily.ENCODER


def learned(task: Task[Any], tokenizer: Any, samples: list[Sample]) -> str:
    """Return the text of the tokens with loss; of a span that of the tokens it is of, of classes their names."""
    if isinstance(task.objective, MaskedObjective):
        return str(tokenizer.decode([token for row in samples for token in text_of(row)[0]], skip_special_tokens=True))
    if isinstance(task.objective, ClassificationObjective):
        return ", ".join(task.objective.classes[number] for sample in samples for number in task.objective.gold(sample))
    if not writes(task):
        ((*_, first, last),) = [list(row.input_ids) for row in samples]
        return str(tokenizer.decode(samples[0].input_ids[first : last + 1])) if last else UNANSWERABLE
    tokens = [token for row in samples for token, mark in zip(row.input_ids, row.loss_mask, strict=True) if mark]
    return str(tokenizer.decode(tokens, skip_special_tokens=True))


def encoded(task: Task[Any], example: Any, tokenizer: Any, length: int = WHOLE) -> list[Sample]:
    return [piece.tokens for piece in task.encode(example, tokenizer, length)]


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_there_once_for_each_kind_of_model_and_reads_rows_alike_for_all(name: TaskName) -> None:
    found = tasks_named(name)
    assert tuple(task.family for task in found) == TASKS[name].families
    assert all(read(task) == read(reader_of(name)) for task in found)


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
        expected = row.learned_by.get(task.family, row.learned)
        assert learned(task, prepared, samples) == expected
        assert not any(text in expected for text in row.only_read)
        whole = "".join(prepared.decode(sample.input_ids) for sample in samples)
        assert all(text in whole for text in row.only_read)
        assert sum(sample.loss_bytes for sample in samples) == (len(expected.encode()) if writes(task) else 0)
        assert all(len(sample.loss_mask) == len(sample.input_ids) and not sample.loss_mask[0] for sample in samples)


def test_a_model_that_writes_learns_where_to_end(task: Task[Any], prepared: Any) -> None:
    if task.family is ModelFamily.ENCODER:
        pytest.skip("it writes nothing")
    for example in read(task):
        last = encoded(task, example, prepared)[-1]
        with_loss = [token for token, mark in zip(last.input_ids, last.loss_mask, strict=True) if mark]
        assert with_loss[-1] in prepared.all_special_ids or not writes(task)


def halves(sample: Sample) -> tuple[list[int], list[int]]:
    """Return what an encoder reads of a sample, and what a decoder writes."""
    cut = len(sample.input_ids) - sum(sample.loss_mask)
    return list(sample.input_ids[:cut]), list(sample.input_ids[cut:])


def longest_of(task: Task[Any], sample: Sample) -> int:
    """Return how many tokens the model has in a row: an encoder and a decoder have one each."""
    return max(map(len, halves(sample))) if task.family is ModelFamily.SEQ2SEQ else len(read_by(task, sample))


@pytest.mark.parametrize("length", LENGTHS)
def test_no_sample_is_longer_than_allowed(task: Task[Any], prepared: Any, length: int) -> None:
    examples = read(task)
    for example in examples:
        samples, [whole] = encoded(task, example, prepared, length), encoded(task, example, prepared)
        assert max(longest_of(task, sample) for sample in samples) <= length
        assert len({sample.id for sample in samples}) == len(samples)
        if isinstance(task.objective, MaskedObjective):
            assert learned(task, prepared, samples) == learned(task, prepared, [whole])
        elif not writes(task):
            assert {sum(sample.loss_mask) for sample in samples} == {sum(whole.loss_mask)}
            assert all(read_by(task, sample)[-1] == read_by(task, whole)[-1] for sample in samples), "it does not end as it would"
        elif task.facts.name is TaskName.QUESTION_ANSWERING and not samples[0].truncated:
            # The text was shortened instead.
            assert learned(task, prepared, samples) == learned(task, prepared, [whole])
        elif task.objective.family.targets_follow:
            source, target = halves(whole)
            assert halves(samples[0]) == (cut_source(source, length, prepared), target[:length])
            assert samples[0].truncated == (max(len(source), len(target)) > length)
        elif task.cuts:
            assert sum(sum(sample.loss_mask) for sample in samples) == sum(whole.loss_mask)
        else:
            (sample,) = samples
            assert sample.truncated == (len(read_by(task, whole)) > length)
            assert list(sample.input_ids) == list(whole.input_ids)[:length]
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
            same = (learned(task, prepared, encoded(task, one, prepared)) for one in (varied, example))
            assert len(set(same)) == 1


@pytest.mark.parametrize("length", LENGTHS[1:])
def test_a_part_that_is_varied_keeps_its_id_and_stays_within_the_limit(task: Task[Any], prepared: Any, length: int) -> None:
    for example in read(task):
        for piece in task.encode(example, prepared, length):
            part = task.part(piece, prepared)
            assert part.id == piece.tokens.id
            varied = task.encode_part(piece, task.vary(part, lambda text: f"{text} indeed"), prepared, length)
            assert varied.id == piece.tokens.id
            assert longest_of(task, varied) <= length


def test_a_chat_template_is_kept_only_where_rows_are_written_with_it(task: Task[Any], prepared: Any) -> None:
    prepared.chat_template = PLAIN_TEMPLATE.replace("User: ", "@@@ ")
    task.prepare(prepared, None)

    samples = encoded(task, read(task)[0], prepared)

    assert ("@@@" in prepared.decode(samples[0].input_ids)) == bool(prepared.chat_template)


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
    alone = [objective.loss(forward, objective.collate([sample]), 0.1) for sample in samples]
    together, batch = objective.loss(forward, objective.collate(samples), 0.1), objective.collate(samples)
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


def test_a_row_asks_the_same_of_a_model_in_use_with_an_answer_and_without(task: Task[Any], prepared: Any) -> None:
    for row in SAMPLES[task.facts.name].rows:
        columns = task.layout("rows", Columns(), None).columns
        blank = {columns[role] for role in task.answers if role in columns}
        unanswered = {name: value for name, value in row.values.items() if name not in blank}
        with_answer, without = (ask(task, prepared, values).request for values in (row.values, unanswered))

        assert with_answer is not None
        assert without is not None
        assert replace(with_answer, references=()) == replace(without, references=())


def test_what_a_question_needs_beside_its_first_column_is_in_the_table(task: Task[Any]) -> None:
    first, *others = task.layout("rows", Columns(), None).columns

    assert task.facts.beside == tuple(role for role in others if role not in task.answers)
    assert first == task.facts.columns[0]
