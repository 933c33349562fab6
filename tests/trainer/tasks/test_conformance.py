"""What every task must do, whatever it is: the rest of the trainer relies on this. Runs over the whole table of tasks."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest

from finetune.api.columns import Columns
from finetune.api.errors import InputError
from finetune.api.tasks import TASKS, ModelFamily, TaskName
from tests.trainer.fixtures.kinds import read_by
from tests.trainer.fixtures.stored import examples_of
from tests.trainer.tasks.conforming import WHOLE, encoded, learned, read, writes
from tests.trainer.tasks.samples import SAMPLES
from trainer.chat.template import PLAIN_TEMPLATE
from trainer.data.records import Record
from trainer.data.rows import Piece, Sample
from trainer.data.sampled import Sampled
from trainer.objectives.masked import MaskedObjective
from trainer.tasks.base import Task
from trainer.tasks.registry import reader_of, tasks_named
from trainer.text.encoding import cut_source

LENGTHS = [8, 13, 32, WHOLE]


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
