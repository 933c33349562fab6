"""A continuation has the tokens that it will have when the prompt is given alone."""

from typing import Any

import pytest

from tests.trainer.fixtures.tokenizers import byte_tokenizer, sentencepiece_like, slow, trained_tokenizer
from trainer.text.continuation import continued, prompt_ids

TOKENIZERS = [
    pytest.param(byte_tokenizer(), id="bytes"),
    pytest.param(trained_tokenizer(None), id="merges"),
    pytest.param(sentencepiece_like(), id="SentencePiece"),
    pytest.param(slow(sentencepiece_like()), id="SentencePiece without offsets"),
]
PROMPTS = [("what is", " the answer"), ("wha", "t is"), ("the end of <s>", " in </s> here"), ("what:\n", "is")]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize(("prompt", "continuation"), PROMPTS)
def test_the_prompt_s_tokens_come_first_and_the_rest_has_loss(tokenizer: Any, prompt: str, continuation: str) -> None:
    sample = continued("name", prompt, continuation, tokenizer, 1000)
    asked = prompt_ids(prompt, tokenizer)
    written = list(sample.input_ids[len(asked) :])

    assert list(sample.input_ids[: len(asked)]) == asked
    assert list(sample.loss_mask) == [0] * len(asked) + [1] * len(written)
    assert written[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(sample.input_ids).startswith(tokenizer.decode(asked))
    assert tokenizer.decode(asked + written[:-1]).endswith(continuation)
    assert not {tokenizer.eos_token_id, tokenizer.bos_token_id} & set(written[:-1])
    assert sample.loss_bytes == len(continuation.encode())


def test_a_row_beyond_the_length_loses_its_end_and_counts_the_bytes_that_are_left() -> None:
    tokenizer = byte_tokenizer()
    sample = continued("name", "Once", " upon", tokenizer, len(prompt_ids("Once", tokenizer)) + 3)
    assert (sample.truncated, sample.loss_bytes, sum(sample.loss_mask)) == (True, 3, 3)
