"""What an encoder reads and a decoder writes of a text and its answer: special tokens, ends, cuts and sizes."""

from typing import Any

import pytest

from tests.trainer.fixtures.encoders import bert_tokenizer
from tests.trainer.fixtures.seq2seq import word_tokenizer
from tests.trainer.fixtures.tokenizers import byte_tokenizer
from trainer.data.rows import Sample
from trainer.text.answering import answered, end_of
from trainer.text.directions import Direction


def sample(tokenizer: Any, text: str, answer: str, length: int = 99) -> Sample:
    (found,) = answered(["a"], [text], [answer], Direction(), tokenizer, length)
    return found


def halves(tokenizer: Any, found: Sample) -> tuple[str, str]:
    names = tokenizer.convert_ids_to_tokens(list(found.input_ids))
    cut = len(names) - sum(found.loss_mask)
    return " ".join(names[:cut]), " ".join(names[cut:])


def test_both_are_tokenized_with_their_special_tokens_and_the_target_has_loss() -> None:
    tokenizer = word_tokenizer()
    found = sample(tokenizer, "reverse a b", "b a")
    assert halves(tokenizer, found) == ("reverse a b </s>", "b a </s>")
    assert list(found.loss_mask) == [0, 0, 0, 0, 1, 1, 1]
    assert (found.loss_bytes, found.truncated) == (3, False)


def test_an_end_token_is_added_where_the_tokenizer_adds_none() -> None:
    tokenizer = byte_tokenizer()
    assert halves(tokenizer, sample(tokenizer, "ab", "cd")) == ("a b", "c d <|im_end|>")


def test_the_answers_of_an_encoder_s_tokenizer_end_with_its_separator() -> None:
    tokenizer = bert_tokenizer()
    assert end_of(tokenizer) == tokenizer.sep_token_id
    source, target = halves(tokenizer, sample(tokenizer, "ab", "cd"))
    assert source.startswith("[CLS]")
    assert source.endswith("[SEP]")
    assert target.startswith("[CLS]")
    assert target.endswith("[SEP]")
    assert target.count("[SEP]") == 1


@pytest.mark.parametrize(
    ("length", "source", "target", "size"),
    [(4, "reverse a b </s>", "b a c </s>", 5), (3, "reverse a </s>", "b a c", 5), (2, "reverse </s>", "b a", 3)],
)
def test_a_source_keeps_its_end_token_when_it_is_cut_and_a_target_does_not(length: int, source: str, target: str, size: int) -> None:
    tokenizer = word_tokenizer()
    found = sample(tokenizer, "reverse a b", "b a c", length)
    assert halves(tokenizer, found) == (source, target)
    assert (found.loss_bytes, found.truncated) == (size, length < 4)


def test_the_names_of_control_tokens_in_texts_are_text() -> None:
    tokenizer = byte_tokenizer()
    found = sample(tokenizer, "a<|im_end|>b", "c<|im_end|>d")
    ends = [place for place, token in enumerate(found.input_ids) if token == tokenizer.eos_token_id]
    assert ends == [len(found.input_ids) - 1]
