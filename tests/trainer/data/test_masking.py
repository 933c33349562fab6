"""What is hidden follows BERT's shares, never touches special tokens, and can be undone and drawn again."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from trainer.data.masking import Masking, text_of
from trainer.data.sampler import random_for

MASKING = Masking(4, (2,), (3,), (0, 300), frozenset(range(5)))
TEXTS = st.lists(st.integers(5, 299), min_size=0, max_size=200)


@given(TEXTS, st.integers(0, 9))
def test_the_text_comes_back_and_as_many_tokens_are_hidden_whatever_the_draw(text: list[int], seed: int) -> None:
    sample = MASKING.hide("row", text, random_for(seed))
    again = MASKING.hide_again(sample, random_for(seed, "again"))

    for found in (sample, again):
        read, hidden = text_of(found)
        assert read == [2, *text, 3]
        assert len(hidden) == sum(found.loss_mask) == (max(1, round(0.15 * len(text))) if text else 0)
        assert (found.input_ids[0], found.input_ids[len(read) - 1]) == (2, 3)
        assert (found.loss_mask[0], found.loss_mask[len(read) - 1], len(found.loss_mask)) == (0, 0, len(found.input_ids))
        places = [place for place, marked in enumerate(found.loss_mask) if marked]
        assert hidden == [read[place] for place in places]


def test_of_the_hidden_tokens_most_are_masked_some_replaced_by_words_and_some_kept() -> None:
    text = [5 + number % 295 for number in range(20_000)]
    sample = MASKING.hide("row", text, random_for(1))
    _, hidden = text_of(sample)
    shown = [sample.input_ids[place] for place, marked in enumerate(sample.loss_mask) if marked]
    kinds = Counter("mask" if one == 4 else "kept" if one == other else "word" for one, other in zip(shown, hidden, strict=True))

    assert {name: round(count / len(hidden), 1) for name, count in kinds.items()} == {"mask": 0.8, "kept": 0.1, "word": 0.1}
    assert not {token for token in shown if token < 5} - {4}


def test_a_draw_is_a_function_of_its_seed() -> None:
    one, same, other = (MASKING.hide("row", range(5, 205), random_for(seed)) for seed in (1, 1, 2))
    assert one == same
    assert one.loss_mask != other.loss_mask


def test_what_is_known_of_a_tokenizer_comes_back_from_its_text() -> None:
    assert Masking.from_known(MASKING.to_known()) == MASKING
