"""A text and what to answer to it: what identifies it, and which answers a column may hold."""

from typing import Any

import pytest

from finetune.api.errors import InputError
from finetune.api.tasks import ModelFamily, TaskName
from tests.trainer.fixtures.stored import examples_of
from trainer.data.records import Record
from trainer.tasks.registry import task_of
from trainer.text.pair import PairExample

TRANSLATION = task_of(TaskName.TRANSLATION, ModelFamily.CAUSAL)


def of(*references: str, group: str = "") -> PairExample:
    return PairExample.of("here", "A boat.", references, group)


def read(target: Any, *, typed: bool = True) -> list[PairExample]:
    return examples_of([Record("line 1", {"source": "A boat.", "target": target}, typed=typed)], task=TRANSLATION)[0]


def test_a_pair_is_read_back_as_it_was_written() -> None:
    example = of("Ein Boot.", "Ein Kahn.", group="en-de")
    assert PairExample.from_wire(example.id, example.origin, example.to_wire()) == example


def test_the_same_text_into_another_language_is_another_question() -> None:
    german, french = of("Ein Boot.", group="en-de"), of("Un bateau.", group="en-fr")
    assert german.prompt_key != french.prompt_key
    assert german.prompt_words != french.prompt_words


def test_another_answer_makes_another_row_of_the_same_question() -> None:
    assert of("Ein Boot.").id != of("Ein Kahn.").id
    assert of("Ein Boot.").prompt_key == of("Ein Kahn.").prompt_key


@pytest.mark.parametrize(
    ("target", "references"),
    [
        pytest.param("Ein Boot.", ("Ein Boot.",), id="a text"),
        pytest.param(["Ein Boot.", "Ein Kahn."], ("Ein Boot.", "Ein Kahn."), id="a list"),
        pytest.param(["Ein Boot.", None, " ", "Ein Boot."], ("Ein Boot.",), id="a list with gaps and repetitions"),
    ],
)
def test_an_answer_is_a_text_or_a_list_of_texts(target: Any, references: tuple[str, ...]) -> None:
    (example,) = read(target)
    assert example.references == references
    assert example.answer == references[0]


@pytest.mark.parametrize(
    ("target", "references"),
    [
        pytest.param('["Ein Boot.", "Ein Kahn."]', ("Ein Boot.", "Ein Kahn."), id="a list"),
        pytest.param("[1] Ein Boot.", ("[1] Ein Boot.",), id="a text that begins with a bracket"),
        pytest.param("[1, 2]", ("[1, 2]",), id="a list of numbers, which are no texts"),
    ],
)
def test_a_table_holds_a_list_of_texts_as_json(target: str, references: tuple[str, ...]) -> None:
    assert read(target, typed=False)[0].references == references
    assert read(target)[0].references == (target,)


def test_a_list_of_other_things_is_refused_with_row_and_column() -> None:
    with pytest.raises(
        InputError, match=r"data\.train\[0\]\.columns\.target: rows\.jsonl line 1: 'target' holds a number, not a text: '7'; write "
    ):
        read(["Ein Boot.", 7])
