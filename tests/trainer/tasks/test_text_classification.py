"""The classes of a job are those of its training rows; what is odd about them is said before training."""

from dataclasses import replace
from typing import Any

import pytest

from finetune.api.columns import Columns
from finetune.api.errors import InputError
from finetune.api.metrics import MetricName
from tests.trainer.fixtures.encoders import bert_tokenizer, tiny_encoder
from tests.trainer.fixtures.stored import examples_of
from tests.trainer.fixtures.tokenizers import byte_tokenizer
from trainer.data.layout import FirstRows
from trainer.data.records import Record
from trainer.tasks.base import Classify
from trainer.tasks.text_classification import ANSWERED_CLASSES, CHOSEN_CLASSES, WRITTEN_CLASSES, Labels
from trainer.text.label import LabelExample

ALL = pytest.mark.parametrize("task", [CHOSEN_CLASSES, WRITTEN_CLASSES, ANSWERED_CLASSES], ids=["chosen", "written", "answered"])
BOTH = pytest.mark.parametrize("task", [CHOSEN_CLASSES, WRITTEN_CLASSES], ids=["chosen", "written"])


def one(label: str, text: str = "a text") -> LabelExample:
    return LabelExample.of("data.train[0] line 1", text, [label])


def prepared_for(task: Labels) -> Any:
    tokenizer = bert_tokenizer() if task is CHOSEN_CLASSES else byte_tokenizer()
    task.prepare(tokenizer, None)
    return tokenizer


def several(*labels: str) -> LabelExample:
    return LabelExample.of("data.train[0] line 1", "a text", labels, listed=True)


@BOTH
@pytest.mark.parametrize(
    ("rows", "known"),
    [
        ([one("b"), one("a"), one("b")], ("one label", "a", "b")),
        ([one("10"), one("9")], ("one label", "9", "10")),
        ([several("b", "a"), several()], ("several labels", "a", "b")),
        ([one("a"), several("b")], ("several labels", "a", "b")),
    ],
    ids=["names", "numbers", "several labels", "lists beside single labels"],
)
def test_the_classes_are_those_of_the_training_rows(task: Labels, rows: list[LabelExample], known: tuple[str, ...]) -> None:
    assert task.knowing(rows).known == known
    assert task.known == (), "the task that others share has changed"


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([one("a"), one("a")], "all training rows have the class 'a', so there is nothing to learn; give rows of at least two classes"),
        ([several(), several()], "no training row has a class, so there is nothing to learn; give rows of at least two classes"),
    ],
)
def test_rows_without_two_classes_are_refused(rows: list[LabelExample], problem: str) -> None:
    with pytest.raises(InputError, match=rf"data\.train: {problem}"):
        CHOSEN_CLASSES.knowing(rows)


@ALL
@pytest.mark.parametrize("length", [8, 100])
def test_a_class_that_no_training_row_has_is_refused_with_its_row(task: Labels, length: int) -> None:
    knowing = task.knowing([one("arrival"), one("charge")])
    row = replace(one("arival"), origin="data.test[0] line 7")

    with pytest.raises(
        InputError, match=r"^data\.test\[0\]: 1 row has a class that no training row has: 'arival' \(data\.test\[0\] line 7"
    ):
        knowing.on("data.test").encode(row, prepared_for(task), length)


@pytest.mark.parametrize(
    ("trained", "problem", "fix"),
    [
        (False, "that no training row has: 'arival', 'f' and 'tax' (the first: data.test[0] line 2; they have",
         "did you mean 'arrival' by 'arival'? Else give training rows of them, or leave the rows out"),
        (True, "that the model was not trained for: 'arival', 'f' and 'tax' (the first: data.test[0] line 2; it knows",
         "did you mean 'arrival' by 'arival'? Else leave the rows out"),
    ],
    ids=["a job", "a model"],
)  # fmt: skip
def test_all_rows_of_unknown_classes_are_counted_in_one_message(trained: bool, problem: str, fix: str) -> None:
    knowing = CHOSEN_CLASSES.knowing([one(name) for name in ("arrival", "a", "b", "c", "d", "e")])
    names = ["a", "arival", "f", "arrival", "tax", "f"]
    rows = [replace(one(name), origin=f"data.test[0] line {line}") for line, name in enumerate(names, 1)]

    with pytest.raises(InputError) as refused:
        knowing.check_held_out(rows, trained=trained)

    assert refused.value.problem == f"4 rows have classes {problem} 'a', 'arrival', 'b', 'c', 'd' and others)"
    assert refused.value.fix == fix


@ALL
@pytest.mark.parametrize("labels", [(), ("a", "b")], ids=["none", "two"])
def test_a_held_out_row_without_exactly_one_label_is_refused_where_training_rows_have_one(task: Labels, labels: tuple[str, ...]) -> None:
    knowing = task.knowing([one("a"), one("b")])
    row = replace(several(*labels), origin="data.test[0] line 7")

    problem = rf"data\.test\[0\]: data\.test\[0\] line 7: the row has {len(labels)} labels, and each training row has one"
    with pytest.raises(InputError, match=problem):
        knowing.encode(row, prepared_for(task), 100)


@ALL
def test_rows_of_several_labels_may_have_any_number_of_those_that_are_known(task: Labels) -> None:
    knowing, tokenizer = task.knowing([several("a", "b", "c")]), prepared_for(task)
    rows = [several(), several("c"), several("a", "b")]

    assert [piece.example for pieces in knowing.encode_all(rows, tokenizer, 200) for piece in pieces] == rows
    with pytest.raises(InputError, match="1 row has a class that no training row has: 'd' "):
        knowing.encode(several("a", "d"), tokenizer, 200)


def test_a_list_of_one_label_is_that_label() -> None:
    task, tokenizer = CHOSEN_CLASSES.knowing([one("a"), one("b")]), bert_tokenizer()
    [listed], [alone] = task.encode(several("b"), tokenizer, 100), task.encode(one("b"), tokenizer, 100)
    assert listed.tokens.input_ids == alone.tokens.input_ids


def test_the_tail_of_a_sample_is_its_class_or_whether_each_applies() -> None:
    chosen, each = CHOSEN_CLASSES.knowing([one("a"), one("b"), one("c")]), CHOSEN_CLASSES.knowing([several("a", "b", "c")])
    tokenizer = bert_tokenizer()
    text = tokenizer("a text")["input_ids"]

    [single], [listed] = chosen.encode(one("b"), tokenizer, 100), each.encode(several("c", "a"), tokenizer, 100)

    assert (list(single.tokens.input_ids), sum(single.tokens.loss_mask)) == ([*text, 1], 1)
    assert (list(listed.tokens.input_ids), sum(listed.tokens.loss_mask)) == ([*text, 1, 0, 1], 3)


def test_a_long_text_is_cut_before_the_token_that_ends_it() -> None:
    task, tokenizer = CHOSEN_CLASSES.knowing([one("a"), one("b")]), bert_tokenizer()

    [piece] = task.encode(one("b", "a rather long text"), tokenizer, 8)

    assert tokenizer.decode(piece.tokens.input_ids[:-1]) == "[CLS]a rath[SEP]"
    assert piece.tokens.truncated


@pytest.mark.parametrize(
    ("names", "columns", "guessed"),
    [
        (["text", "label"], {"text": "text", "label": "label"}, False),
        (["id", "text", "category"], {"text": "text", "label": "category"}, True),
        (["sentence", "label"], {"text": "sentence", "label": "label"}, True),
        (["message", "intent"], {"text": "message", "label": "intent"}, True),
        (["message", "review", "label"], {"text": "text", "label": "label"}, False),
        (["text", "intent", "category"], {"text": "text", "label": "label"}, False),
    ],
)
def test_columns_are_found_by_names_that_only_one_of_them_has(names: list[str], columns: dict[str, str], guessed: bool) -> None:
    first = FirstRows([Record("line 1", dict.fromkeys(names, "x"))])
    layout = CHOSEN_CLASSES.layout("data.train[0]", Columns(), first)
    assert (dict(layout.columns), layout.guessed) == (columns, guessed)


def test_a_missing_column_is_refused_with_those_that_there_are() -> None:
    rows = [Record("line 1", {"comment": "This is a longer text.", "stars": "5"})]
    with pytest.raises(InputError, match=r"'text' is not a column.*write columns: {text: comment, label: stars}"):
        examples_of(rows, task=CHOSEN_CLASSES)


def findings(counts: dict[str, int]) -> list[str]:
    rows = [one(name, f"{name} {number}") for name, count in counts.items() for number in range(count)]
    task, tokenizer = CHOSEN_CLASSES.knowing(rows), bert_tokenizer()
    return task.findings([task.sampled("data.train", rows, tokenizer, 100)], tokenizer)


def test_rare_and_uneven_classes_are_reported() -> None:
    assert findings({"a": 10, "b": 20}) == []
    (few,) = findings({"a": 7, "b": 20})
    assert few == "data.train: 1 of 2 classes has fewer than 8 rows, such as 'a' with 7; they are hardly learned"
    (uneven,) = findings({"a": 10, "b": 100})
    assert uneven.startswith("data.train: the classes differ in size, from 10 rows ('a') to 100 ('b'); accuracy says little")


def test_with_several_labels_a_row_the_model_is_judged_by_micro_f1() -> None:
    assert CHOSEN_CLASSES.knowing([one("a"), one("b")]).route.score is MetricName.ACCURACY
    assert CHOSEN_CLASSES.knowing([several("a", "b")]).route.score is MetricName.MICRO_F1


def test_classes_that_were_known_come_back_from_a_model_s_configuration() -> None:
    for known in (CHOSEN_CLASSES.knowing([one("b"), one("a")]), CHOSEN_CLASSES.knowing([several("a", "b")])):
        config = tiny_encoder(known.objective.family.auto_class, **known.objective.family.settings).config
        assert CHOSEN_CLASSES.recalling(config) == known


@BOTH
def test_what_was_known_comes_back_from_a_record(task: Labels) -> None:
    known = task.knowing([one("b"), one("a")])
    assert task.with_known(known.known) == known


def test_a_model_in_use_is_asked_for_the_class_of_a_text() -> None:
    request = CHOSEN_CLASSES.knowing([one("a"), one("b")]).ask(one("a", "text"), bert_tokenizer())
    assert isinstance(request, Classify)
    assert (request.classes, request.several, request.closing) == (("a", "b"), False, 1)
    assert bert_tokenizer().decode(request.text_ids) == "[CLS]text[SEP]"


@pytest.mark.parametrize(
    ("rows", "question"),
    [
        ([one("good"), one("bad")], "Which of these classes does this text have: bad, good?\n\nIt works."),
        ([several("good", "bad")], "Which of these classes does this text have: bad, good? Separate them by commas.\n\nIt works."),
        ([one(f"class {number}") for number in range(21)], "Which class does this text have?\n\nIt works."),
        ([one("a" * 300), one("b" * 300)], "Which class does this text have?\n\nIt works."),
    ],
    ids=["few", "several labels", "many", "long"],
)
def test_a_question_lists_the_classes_if_they_are_few_and_short(rows: list[LabelExample], question: str) -> None:
    assert WRITTEN_CLASSES.knowing(rows).question(one("good", "It works.")) == question


def test_a_model_that_writes_learns_the_names_of_the_classes() -> None:
    task: Any = WRITTEN_CLASSES.knowing([several("a", "b")])
    tokenizer = byte_tokenizer()
    task.prepare(tokenizer, None)
    assert task.request(several("a", "b"), tokenizer).references == ("a, b",)
    assert task.request(several(), tokenizer).references == ("none",)
