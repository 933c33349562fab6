"""Augmentation varies users' words as the job asks, the same way whenever (seed, epoch, example) are the same."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.api.augmentation import Augmentation
from tests.trainer.fixtures.examples import chat, source, text
from trainer.augmentation.augmenter import Augmenter
from trainer.augmentation.counts import AugmentedRows
from trainer.augmentation.words import cut, join
from trainer.tasks.chat import CHAT
from trainer.tasks.language_modeling import LANGUAGE_MODELING
from trainer.text.words import WORD

EVERYTHING = [
    {"synonymReplacement": {"probability": 0.5}},
    {"wordDropout": {"probability": 0.3}},
    {"wordSwap": {"probability": 0.3}},
    {"characterNoise": {"probability": 0.2}},
]
VARY, VARY_CHAT = LANGUAGE_MODELING.vary, CHAT.vary
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def augmenter(*operations: dict[str, Any], share: float = 1.0, seed: int = 1) -> Augmenter:
    return Augmenter(Augmentation.model_validate({"operations": list(operations), "augmentedShare": share}), seed)


def varied(words: str, *operations: dict[str, Any], epoch: int = 0) -> str:
    return augmenter(*operations).augment(text(words), epoch, VARY)[0].text


def test_only_the_users_turns_of_a_chat_are_varied() -> None:
    example = chat("Where is my large car?", "It is in the large house.", "Which large house?", "Mine.", system="Answer large questions.")
    result, counts = augmenter({"synonymReplacement": {"probability": 1.0}}).augment(example, 0, VARY_CHAT)
    assert result.messages is not None
    assert example.messages is not None
    for before, after in zip(example.messages, result.messages, strict=True):
        assert (before.content != after.content) == (before.role == "user")
    assert result.id == example.id
    assert counts.seen == 8
    assert 2 <= counts.changed <= 8


def test_the_whole_of_a_plain_text_is_varied() -> None:
    result, counts = augmenter({"wordSwap": {"probability": 1.0}}).augment(text("one two three four"), 0, VARY)
    assert (result.text, counts.changed, counts.seen) == ("two one four three", 4, 4)


@given(words=TEXTS, seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 1000))
def test_the_same_seed_epoch_and_row_give_the_same_text(words: str, seed: int, epoch: int) -> None:
    first, second = augmenter(*EVERYTHING, seed=seed), augmenter(*EVERYTHING, seed=seed)
    first.augment(text("another row before"), epoch, VARY)
    assert first.augment(text(words), epoch, VARY) == second.augment(text(words), epoch, VARY)


def test_epochs_and_seeds_give_different_texts() -> None:
    example = text("please show the large car and the quick answer to every question that people begin with")
    results = {augmenter(*EVERYTHING, seed=seed).augment(example, epoch, VARY)[0].text for seed in range(3) for epoch in range(3)}
    assert len(results) == 9


@settings(max_examples=200)
@given(words=TEXTS, epoch=st.integers(0, 3))
def test_no_text_becomes_empty_and_counts_fit(words: str, epoch: int) -> None:
    result, counts = augmenter(*EVERYTHING, {"wordDropout": {"probability": 1.0}}).augment(text(words), epoch, VARY)
    assert bool(result.text.strip()) == bool(words.strip())
    assert 0 <= counts.changed <= counts.seen == len(WORD.findall(words))
    assert counts.unchanged == (result.text == words)


@given(TEXTS)
def test_a_text_is_the_sum_of_its_pieces(words: str) -> None:
    assert "".join(piece.text for piece in cut(words)) == words
    assert join(cut(words)) == words


def test_the_share_of_rows_that_vary_is_as_asked_and_chosen_again_in_each_epoch() -> None:
    varying = augmenter({"wordSwap": {"probability": 1.0}}, share=0.3)
    chosen = [
        {number for number in range(1000) if varying.augment(text(f"row number {number}"), epoch, VARY)[1].changed} for epoch in range(2)
    ]
    assert all(len(rows) == pytest.approx(300, abs=45) for rows in chosen)  # three standard deviations
    assert chosen[0] != chosen[1]


def test_words_of_rows_that_stay_count_as_words_without_a_change() -> None:
    result, counts = augmenter({"wordSwap": {"probability": 1.0}}, share=0.0).augment(text("a b c"), 0, VARY)
    assert (result, counts) == (text("a b c"), AugmentedRows(changed=0, seen=3, original=1))


COPIES = {"operations": [{"wordSwap": {"probability": 1.0}}, {"punctuationInsertion": {"probability": 0.5}}], "copiesPerRow": 3}


def test_copies_differ_from_the_row_and_from_each_other_and_the_row_itself_stays() -> None:
    varying, example = Augmenter(Augmentation.model_validate(COPIES), 1), text("please show the large car and the quick answer")
    results = [varying.augment(example, epoch, VARY, copy) for epoch in range(2) for copy in range(4)]
    assert [found.text == example.text for found, _ in results] == [True, False, False, False] * 2
    assert len({found.text for found, _ in results}) == 7
    assert [(counts.original, counts.generated) for _, counts in results] == [(1, 0), (0, 1), (0, 1), (0, 1)] * 2


def test_a_copy_that_comes_out_as_the_row_is_counted_as_unchanged() -> None:
    _, counts = Augmenter(Augmentation.model_validate(COPIES), 1).augment(text("no"), 0, VARY, 1)
    assert (counts.generated, counts.unchanged, counts.changed) == (1, 1, 0)


def test_what_each_operation_did_is_counted() -> None:
    _, counts = Augmenter(Augmentation.model_validate(COPIES), 1).augment(text("one two three four"), 0, VARY, 1)
    report = counts.to_report(["wordSwap", "punctuationInsertion"])
    assert report["operations"]["wordSwap"] == report["wordsChanged"] == 4
    assert report["operations"]["punctuationInsertion"] > 0
    assert report["rows"] == {"original": 0, "generated": 1}


def test_examples_are_texts_that_an_epoch_learns_before_and_after() -> None:
    varying = Augmenter(Augmentation.model_validate(COPIES), 1)
    rows = [text("no"), *(text(f"row number {number} of many") for number in range(9))]
    found = varying.examples(LANGUAGE_MODELING, rows, 3)
    assert found == [(row.text, varying.augment(row, 0, VARY, 1)[0].text) for row in rows[1:4]]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param("buy it", "purchase it", id="small"),
        pytest.param("Buy it!", "Purchase it!", id="capital"),
        pytest.param("BUY IT", "PURCHASE IT", id="capitals"),
        pytest.param("  (buy)  it,\n\tbuy.", "  (purchase)  it,\n\tpurchase.", id="spacing and punctuation"),
        pytest.param("buyer", "buyer", id="whole words only"),
        pytest.param("xyzzy", "xyzzy", id="unknown"),
    ],
)
def test_synonyms_keep_capitals_and_everything_between_words(words: str, expected: str) -> None:
    assert varied(words, {"synonymReplacement": {"probability": 1.0}}) == expected


def test_a_synonym_fits_the_article_before_it(tmp_path: Path) -> None:
    (tmp_path / "words.tsv").write_text("answer\treply\n")
    operation = {"synonymReplacement": {"probability": 1.0, "dictionary": source(tmp_path / "words.tsv")}}
    assert varied("an answer, the answer", operation) == "an answer, the reply"


def test_a_dictionary_of_ones_own_takes_the_place_of_wordnet(tmp_path: Path) -> None:
    (tmp_path / "words.tsv").write_text("konto\tGirokonto\n")
    operation = {"synonymReplacement": {"probability": 1.0, "dictionary": source(tmp_path / "words.tsv")}}
    assert varied("Mein Konto, my car", operation) == "Mein Girokonto, my car"


def test_dropped_words_take_their_space_along() -> None:
    results = {varied("see a word, there", {"wordDropout": {"probability": 0.4}}, epoch=epoch) for epoch in range(200)}
    assert {"see a, there", "see a word,", "a word, there", "see word, there"} <= results
    assert not any("  " in result or " ," in result for result in results)


def test_about_as_many_words_are_dropped_as_asked() -> None:
    words = " ".join(["word"] * 5000)
    _, counts = augmenter({"wordDropout": {"probability": 0.1}}).augment(text(words), 0, VARY)
    assert (counts.changed, counts.seen) == (pytest.approx(500, abs=65), 5000)


def test_a_swap_at_the_beginning_keeps_the_capital_in_front() -> None:
    assert varied("Where is it", {"wordSwap": {"probability": 1.0}}) == "Is where it"


def test_typing_errors_spare_numbers_and_punctuation() -> None:
    words = "Pay $1,234.50 on 2024-05-06!"
    for epoch in range(20):
        result = varied(words, {"characterNoise": {"probability": 1.0}}, epoch=epoch)
        assert "$1,234.50 " in result
        assert result.endswith(" 2024-05-06!")


def test_about_as_many_letters_are_mistyped_as_asked() -> None:
    words = " ".join(["letters"] * 2000)
    result = varied(words, {"characterNoise": {"probability": 0.02}})
    wrong = sum(word != "letters" for word in result.split())
    # A word of seven letters is touched with 1 - 0.98^7 = 13 %; a replacement by the same letter is no change.
    assert wrong == pytest.approx(0.132 * 2000, rel=0.25)


def test_vowel_signs_stay_with_their_word() -> None:
    assert [piece.text for piece in cut("मेरा खाता, don’t re-use") if piece.is_word] == ["मेरा", "खाता", "don’t", "re-use"]
