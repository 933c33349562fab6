"""The doctor looks at enough texts of every length, and at no more than memory holds."""

import pytest

from tests.trainer.fixtures.examples import text
from tests.trainer.fixtures.tokenizers import byte_tokenizer
from trainer.tasks import language_modeling
from trainer.tasks.language_modeling import LANGUAGE_MODELING, LONGEST_TEXTS, SAMPLE_TEXTS


def test_all_of_a_few_texts_are_examined() -> None:
    texts = [text(f"text {number}") for number in range(100)]
    side = LANGUAGE_MODELING.sampled("data.train", texts, byte_tokenizer(), 1000)
    assert (side.seen, list(side.examples)) == (100, texts)


def test_of_many_texts_some_from_everywhere_and_the_longest_are_examined() -> None:
    texts = [text(f"text {number}{' long' * (number % 1000 == 999)}") for number in range(10_000)]
    side = LANGUAGE_MODELING.sampled("data.train", texts, byte_tokenizer(), 1000)
    assert SAMPLE_TEXTS <= side.seen <= SAMPLE_TEXTS + LONGEST_TEXTS
    places = [texts.index(example) for example in list(side.examples)[:20]]
    assert places == sorted(places)
    assert {example.id for example in texts[999::1000]} <= {example.id for example in side.examples}


@pytest.mark.parametrize("count", [100, 10_000])
def test_of_long_texts_no_more_characters_are_in_memory_than_allowed(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(language_modeling, "SAMPLE_CHARACTERS", 1000)
    texts = [text(f"{number:>50}") for number in range(count)]
    side = LANGUAGE_MODELING.sampled("data.train", texts, byte_tokenizer(), 1000)
    assert side.of() == f"20 sampled rows of {count}"
    places = [int(example.text) for example in side.examples]
    assert places == sorted(places)
    assert places[0] < count / 2 < places[-1], "all are from one end"


@pytest.mark.parametrize("count", [100, 10_000])
def test_the_longest_of_long_texts_fill_no_more_than_half_of_the_sample(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(language_modeling, "SAMPLE_CHARACTERS", 1000)
    texts = [text(f"{number:>{100 if number in range(40, 50) else 50}}") for number in range(count)]
    side = LANGUAGE_MODELING.sampled("data.train", texts, byte_tokenizer(), 1000)
    lengths = [len(example.text) for example in side.examples]
    assert (lengths.count(100), lengths.count(50)) == (5, 10)


def test_one_text_is_examined_however_long_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_modeling, "SAMPLE_CHARACTERS", 10)
    side = LANGUAGE_MODELING.sampled("data.train", [text("a" * 100)] * 3, byte_tokenizer(), 1000)
    assert (side.seen, side.total) == (1, 3)
