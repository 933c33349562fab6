"""Every kind of tokenizer is told the languages of a translation in its own way, and is left as it was."""

from pathlib import Path
from typing import Any

import pytest

from finetune.api.errors import InputError
from tests.trainer.fixtures.multilingual import marian_tokenizer, mbart_tokenizer, nllb_tokenizer
from tests.trainer.fixtures.seq2seq import word_tokenizer
from trainer.text.answering import answered, source_ids
from trainer.text.directions import Direction, direction_of, is_multilingual, reads_languages

FIELD = "data.train[0]"

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")


def tokens(pair: str, tokenizer: Any, source: str = "the house", target: str = "das haus") -> tuple[list[str], list[str]]:
    """Return what the encoder reads and the decoder writes of a pair of texts."""
    (sample,) = answered(["a"], [source], [target], direction_of(pair, tokenizer, FIELD), tokenizer, 99)
    names = tokenizer.convert_ids_to_tokens(list(sample.input_ids))
    cut = len(names) - sum(sample.loss_mask)
    return names[:cut], names[cut:]


def test_a_tokenizer_without_languages_of_its_own_is_told_in_words_as_t5_was() -> None:
    words = ["translate", "English", "to", "German:", "the", "house", "das", "haus"]
    assert direction_of("en-de", word_tokenizer(), FIELD) == Direction("translate English to German: ")
    assert direction_of("en-de", word_tokenizer(), FIELD).first is None
    assert tokens("en-de", word_tokenizer(words)) == ([*words[:6], "</s>"], ["das", "haus", "</s>"])
    assert tokens("", word_tokenizer(words)) == (["the", "house", "</s>"], ["das", "haus", "</s>"])


@pytest.mark.parametrize("pair", ["en-de", "eng_Latn-deu_Latn", "en-de_Latn"])
def test_languages_with_a_token_in_front_begin_both_texts_and_force_the_first_token(pair: str) -> None:
    tokenizer = nllb_tokenizer()
    read, written = tokens(pair, tokenizer)
    assert (read[0], read[-1], written[0], written[-1]) == ("eng_Latn", "</s>", "deu_Latn", "</s>")
    assert direction_of(pair, tokenizer, FIELD).first == tokenizer.convert_tokens_to_ids("deu_Latn")
    assert tokenizer.convert_ids_to_tokens(tokenizer("a")["input_ids"])[0] == "eng_Latn", "the tokenizer must be left as it was"


def test_several_pairs_of_one_job_are_kept_apart() -> None:
    tokenizer = nllb_tokenizer()
    assert [tokens(pair, tokenizer)[1][0] for pair in ("en-de", "de-en", "en-fr", "en-de")] == [
        "deu_Latn", "eng_Latn", "fra_Latn", "deu_Latn",
    ]  # fmt: skip


def test_a_language_behind_the_end_is_not_learned_and_forces_nothing() -> None:
    tokenizer = mbart_tokenizer()
    assert tokens("en-de", tokenizer) == (["▁the", "▁house", "</s>", "en_XX"], ["▁das", "▁haus", "</s>"])
    assert direction_of("en-de", tokenizer, FIELD).first is None


def test_a_multilingual_tokenizer_that_is_told_nothing_uses_its_own_languages() -> None:
    tokenizer = nllb_tokenizer()
    assert direction_of("", tokenizer, FIELD) == Direction("", "eng_Latn", "eng_Latn", tokenizer.convert_tokens_to_ids("eng_Latn"))


@pytest.mark.parametrize(("pair", "tag"), [("en-de", ">>deu<<"), ("en-pt", ">>por<<"), ("en-pt_BR", ">>por_BR<<")])
def test_a_token_in_the_source_names_the_language_that_marian_writes(tmp_path: Path, pair: str, tag: str) -> None:
    tokenizer = marian_tokenizer(tmp_path)
    read, written = tokens(pair, tokenizer)
    assert (read[0], read[-1], written[-1]) == (tag, "</s>", "</s>")
    assert "<unk>" not in written, "the target must be cut by the target's own pieces"
    assert "".join(written[:-1]).replace("▁", " ").strip() == "das haus"
    assert tokenizer.current_spm is tokenizer.spm_source


@pytest.mark.parametrize(
    ("tags", "needed"), [((), False), ((">>deu<<",), True), ((">>deu<<", ">>por<<"), True)], ids=["none", "one", "two"]
)
def test_marian_needs_the_token_of_a_language_where_it_has_any(tmp_path: Path, tags: tuple[str, ...], *, needed: bool) -> None:
    tokenizer = marian_tokenizer(tmp_path, tags)
    assert reads_languages(tokenizer) is needed
    assert bool(direction_of("en-de", tokenizer, FIELD).prefix) is needed


def test_a_marian_tokenizer_of_one_pair_is_told_nothing(tmp_path: Path) -> None:
    tokenizer = marian_tokenizer(tmp_path, tags=())
    assert direction_of("en-de", tokenizer, FIELD) == Direction()


@pytest.mark.parametrize(
    ("pair", "problem"),
    [
        pytest.param("en-tlh", r"data\.train\[0\]\.targetLanguage: .* does not know the language tlh; it knows .* more", id="target"),
        pytest.param("tlh-en", r"data\.train\[0\]\.sourceLanguage: .* does not know the language tlh", id="source"),
        pytest.param("en-zh", r"targetLanguage: .* several languages that zh may be; write one of zho_Hans, zho_Hant", id="several"),
    ],
)
def test_a_language_that_the_tokenizer_cannot_be_told_is_refused(pair: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        direction_of(pair, nllb_tokenizer(), FIELD)


def test_a_language_that_marian_has_no_token_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.train\[0\]\.targetLanguage: .* does not know the language fr; it knows deu, por, por_BR"):
        direction_of("en-fr", marian_tokenizer(tmp_path), FIELD)


def test_what_is_read_when_an_answer_is_asked_for_is_what_was_trained(tmp_path: Path) -> None:
    for tokenizer in (nllb_tokenizer(), mbart_tokenizer(), marian_tokenizer(tmp_path), word_tokenizer()):
        direction = direction_of("en-de", tokenizer, FIELD)
        (sample,) = answered(["a"], ["the house"], ["das haus"], direction, tokenizer, 99)
        (asked,) = source_ids(["the house"], direction, tokenizer)
        assert list(sample.input_ids[: len(asked)]) == asked
        assert sum(sample.loss_mask) == len(sample.input_ids) - len(asked)


def test_tokenizers_that_were_made_to_translate_are_known(tmp_path: Path) -> None:
    assert [is_multilingual(one) for one in (nllb_tokenizer(), marian_tokenizer(tmp_path), word_tokenizer())] == [True, True, False]
