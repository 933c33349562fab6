"""Classes are read as people write them: names, numbers, true and false, lists, and lists in a table."""

from typing import Any

import pytest

from finetune.api.errors import InputError
from tests.trainer.fixtures.stored import examples_of
from trainer.data.records import Record
from trainer.tasks.text_classification import CHOSEN_CLASSES
from trainer.text.label import LabelExample, in_order


def read(label: Any, *, typed: bool = True) -> tuple[tuple[str, ...], bool]:
    (example,), _ = examples_of([Record("line 1", {"text": "a text", "label": label}, typed=typed)], task=CHOSEN_CLASSES)
    return example.labels, example.listed


@pytest.mark.parametrize(
    ("label", "labels", "listed"),
    [
        pytest.param("angry", ("angry",), False, id="a name"),
        pytest.param(" angry ", ("angry",), False, id="a name with spaces around it"),
        pytest.param(3, ("3",), False, id="a number"),
        pytest.param(3.0, ("3",), False, id="a number from a table with gaps"),
        pytest.param(0, ("0",), False, id="zero"),
        pytest.param(True, ("true",), False, id="true"),
        pytest.param(False, ("false",), False, id="false"),
        pytest.param(["b", "a", "b"], ("a", "b"), True, id="a list"),
        pytest.param([2, 1], ("1", "2"), True, id="a list of numbers"),
        pytest.param([], (), True, id="none of the classes"),
        pytest.param('["b", "a"]', ("a", "b"), True, id="a list as JSON, in a table"),
        pytest.param("[]", (), True, id="none of them, in a table"),
        pytest.param("[unknown]", ("[unknown]",), False, id="a name in brackets"),
    ],
)
def test_a_class_is_read_as_it_is_written(label: Any, labels: tuple[str, ...], listed: bool) -> None:
    assert read(label) == (labels, listed)


@pytest.mark.parametrize("label", [0.5, {"name": "a"}, [["a"]], [None]])
def test_what_is_no_class_is_refused_with_its_row(label: Any) -> None:
    with pytest.raises(InputError, match=r"data\.train\[0\]\.columns\.label: rows\.jsonl line 1: 'label' is .*, not a class"):
        read(label)


@pytest.mark.parametrize("label", [None, "", "  "])
def test_a_row_without_a_class_is_left_out(label: Any) -> None:
    records = [Record("line 1", {"text": "a", "label": label}), Record("line 2", {"text": "b", "label": "x"})]
    examples, noticed = examples_of(records, task=CHOSEN_CLASSES)
    assert [example.text for example in examples] == ["b"]
    assert "'label'" in noticed.findings("data.train[0]")[0]


def test_people_are_shown_the_text_as_it_is() -> None:
    assert LabelExample.of("data.test[0] line 1", "Not Bad!", ["good"]).shown == "Not Bad!"


def test_numbers_are_in_the_order_of_numbers_and_names_in_that_of_names() -> None:
    assert in_order({"10", "9", "-1"}) == ("-1", "9", "10")
    assert in_order({"10", "9", "b"}) == ("10", "9", "b")


def test_rows_with_the_same_text_share_a_prompt_and_rows_with_other_classes_are_no_duplicates() -> None:
    one, other = LabelExample.of("a", "the text", ["x"]), LabelExample.of("b", "the text", ["y"])
    assert one.prompt_key == other.prompt_key
    assert (one.id != other.id, one.answer, other.answer) == (True, "x", "y")


def test_names_of_one_number_are_in_the_same_order_in_every_process() -> None:
    names = {f"{'0' * zeros}{number}" for number in (1, 2) for zeros in range(20)}
    assert list(in_order(names)) == [f"{'0' * zeros}{number}" for number in (1, 2) for zeros in reversed(range(20))]
