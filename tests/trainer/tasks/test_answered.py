"""Tasks that turn one text into another, as encoder-decoders learn them."""

from typing import Any

import pytest

from finetune.api.errors import InputError
from finetune.api.tasks import ModelFamily, TaskName
from tests.trainer.fixtures.multilingual import nllb_tokenizer
from tests.trainer.fixtures.seq2seq import END, word_tokenizer
from trainer.tasks.base import Generate
from trainer.tasks.registry import task_of
from trainer.text.pair import PairExample

WORDS = ["translate", "English", "German", "German:", "English:", "to", "the", "house", "das", "haus"]


def task(name: TaskName) -> Any:
    return task_of(name, ModelFamily.SEQ2SEQ)


def pair(given: str, answer: str, languages: str = "", origin: str = "data.train[1] line 3") -> PairExample:
    return PairExample.of(origin, given, (answer,), languages)


def words_of(tokenizer: Any, ids: Any) -> str:
    return " ".join(tokenizer.convert_ids_to_tokens(list(ids)))


def test_a_translation_is_asked_for_with_its_languages_and_one_without_is_not() -> None:
    tokenizer = word_tokenizer(WORDS)
    asked = task(TaskName.TRANSLATION).request(pair("the house", "das haus", "en-de"), tokenizer)
    assert isinstance(asked, Generate)
    assert words_of(tokenizer, asked.prompt) == "translate English to German: the house </s>"
    assert (asked.references, asked.group, asked.stops, asked.forced_first) == (("das haus",), "en-de", {END}, None)
    assert words_of(tokenizer, task(TaskName.TRANSLATION).request(pair("the house", "das haus"), tokenizer).prompt) == "the house </s>"


def test_rows_of_several_pairs_are_tokenized_each_in_its_own_languages_and_in_order() -> None:
    tokenizer = nllb_tokenizer()
    examples = [pair("the", "das", "en-de"), pair("das", "the", "de-en"), pair("house", "haus", "en-de")]
    found = [pieces[0].tokens for pieces in task(TaskName.TRANSLATION).encode_all(examples, tokenizer, 99)]
    assert [row.id for row in found] == [example.id for example in examples]
    assert [words_of(tokenizer, row.input_ids[:1]) for row in found] == ["eng_Latn", "deu_Latn", "eng_Latn"]
    firsts = [task(TaskName.TRANSLATION).request(example, tokenizer).forced_first for example in examples]
    assert [words_of(tokenizer, [first]) for first in firsts] == ["deu_Latn", "eng_Latn", "deu_Latn"]


def test_a_language_that_the_model_does_not_know_is_refused_with_the_source_that_has_it() -> None:
    with pytest.raises(InputError, match=r"data\.train\[1\]\.targetLanguage: the model's tokenizer does not know the language tlh"):
        task(TaskName.TRANSLATION).encode(pair("the", "das", "en-tlh"), nllb_tokenizer(), 99)


@pytest.mark.parametrize("name", [TaskName.TRANSCRIPT_CORRECTION, TaskName.TEXT_GENERATION])
def test_other_tasks_put_nothing_before_what_is_read(name: TaskName) -> None:
    tokenizer = word_tokenizer(WORDS)
    assert words_of(tokenizer, task(name).request(pair("the house", "das haus"), tokenizer).prompt) == "the house </s>"


def test_a_tokenizer_that_could_not_end_an_answer_is_refused() -> None:
    tokenizer = word_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="model: the tokenizer has neither an end-of-sequence nor a separator token"):
        task(TaskName.TRANSLATION).check_tokenizer(tokenizer)


def test_a_model_of_which_nothing_is_known_is_taken_for_a_translator_only_if_its_tokenizer_is_one() -> None:
    assert task(TaskName.TEXT_GENERATION).is_likely(word_tokenizer())
    assert not task(TaskName.TEXT_GENERATION).is_likely(nllb_tokenizer())
