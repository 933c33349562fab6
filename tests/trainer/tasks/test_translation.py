"""Where translations are in a row, and what the model is asked."""

from typing import Any

import pytest

from finetune.api.errors import InputError
from finetune.api.sources import Source
from finetune.api.tasks import ModelFamily, TaskName
from tests.trainer.fixtures.stored import examples_of
from trainer.data.noticed import Noticed
from trainer.data.records import Record
from trainer.preflight.columns import read_examples
from trainer.preflight.prepare import languages_of
from trainer.tasks.registry import task_of

TRANSLATION, CHAT = (task_of(name, ModelFamily.CAUSAL) for name in (TaskName.TRANSLATION, TaskName.CHAT))
SOURCE = Source(path="rows.jsonl", source_language="en", target_language="de")


def read(values: dict[str, Any], languages: tuple[str, str] | None = ("en", "de")) -> Any:
    (example,) = read_examples("data.train[0]", [Record("line 1", values)], TRANSLATION, None, "rows.jsonl", Noticed(), languages)
    return example


@pytest.mark.parametrize(
    "values",
    [
        {"source": "A boat.", "target": "Ein Boot."},
        {"src": "A boat.", "tgt": "Ein Boot.", "id": "7"},
        {"input": "A boat.", "output": "Ein Boot."},
        {"translation": {"de": "Ein Boot.", "en": "A boat.", "fr": "Un bateau."}},
    ],
)
def test_texts_are_found_in_the_forms_that_people_have(values: dict[str, Any]) -> None:
    example = read(values)
    assert (example.given, example.references, example.group) == ("A boat.", ("Ein Boot.",), "en-de")


def test_the_model_is_asked_with_the_names_of_the_languages() -> None:
    values = {"source": "A boat.", "target": "Ein Boot."}
    assert TRANSLATION.question(read(values)) == "Translate from English to German:\n\nA boat."  # type: ignore[attr-defined]
    assert TRANSLATION.question(read(values, None)) == "Translate:\n\nA boat."  # type: ignore[attr-defined]


def test_texts_by_language_need_the_languages_of_the_source() -> None:
    values = {"translation": {"de": "Ein Boot.", "en": "A boat."}}
    with pytest.raises(InputError, match="give the source sourceLanguage and targetLanguage; the row has de, en"):
        read(values, None)
    with pytest.raises(InputError, match="'translation' has no text for 'fr'"):
        read(values, ("en", "fr"))


def test_rows_without_such_columns_are_refused_with_those_that_they_have() -> None:
    with pytest.raises(InputError, match=r"write columns: \{source: one, target: two\}"):
        examples_of([Record("line 1", {"one": "A boat is here.", "two": "Ein Boot ist da."})], task=TRANSLATION)


def test_languages_of_another_task_s_source_are_refused() -> None:
    assert languages_of("data.train[0]", SOURCE, TRANSLATION) == ("en", "de")
    with pytest.raises(InputError, match=r"data\.train\[0\]\.sourceLanguage: has no meaning for task chat"):
        languages_of("data.train[0]", SOURCE, CHAT)
