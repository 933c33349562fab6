import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.evaluation.metrics.base import Figure, TokenSums
from trainer.evaluation.metrics.likelihood import BitsPerByte, Perplexity


def perplexity(*sums: TokenSums) -> float:
    return Perplexity().compute(sums).value or 0.0


def test_perplexity_is_that_of_a_cross_entropy_over_all_tokens() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(7, 11, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 11, (7,), generator=generator)
    nll = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    mean = torch.nn.functional.cross_entropy(logits, targets)

    assert perplexity(TokenSums(float(nll), 7, 20)) == pytest.approx(float(mean.exp()))


def test_a_model_that_guesses_among_equals_needs_their_logarithm_in_bits() -> None:
    # 12 bytes, each a token of its own, each guessed among 256 equally likely ones: 8 bits a byte.
    measured = TokenSums(12 * math.log(256), tokens=12, bytes=12)

    assert perplexity(measured) == pytest.approx(256)
    assert BitsPerByte().compute([measured]).value == pytest.approx(8)


parts = st.builds(TokenSums, st.floats(0, 1e4), st.integers(1, 10_000), st.integers(1, 10_000))


@given(st.lists(parts, min_size=1, max_size=8))
def test_the_figure_of_the_whole_does_not_depend_on_how_it_was_split(split: list[TokenSums]) -> None:
    total = sum(split, TokenSums())

    expected = math.exp(math.fsum(part.nll_sum for part in split) / sum(part.tokens for part in split)) if total.nll_sum < 700 else None
    if expected is not None:
        assert perplexity(total) == perplexity(*split) == pytest.approx(expected)
    assert total.bytes == sum(part.bytes for part in split)


@pytest.mark.parametrize("sums", [[], [TokenSums()]], ids=["no rows", "rows without loss"])
def test_perplexity_is_left_out_with_the_reason_where_no_token_has_loss(sums: list[TokenSums]) -> None:
    assert Perplexity().compute(sums) == Figure(None, reason="there are no tokens with loss")


def test_the_perplexity_of_a_hopeless_model_is_infinite() -> None:
    assert perplexity(TokenSums(nll_sum=1e6, tokens=1, bytes=1)) == math.inf


def test_bits_per_byte_is_left_out_with_the_reason_where_no_bytes_were_counted() -> None:
    found = BitsPerByte().compute([TokenSums(3.0, 2, 0)])

    assert (found.value, found.reason) == (None, "the tokens with loss have no text")


def test_a_signature_says_how_much_was_measured() -> None:
    assert Perplexity().compute([TokenSums(3.0, 2, 5)]).signature == "exp(sum nll / sum tokens)|tokens:2"
    assert BitsPerByte().compute([TokenSums(3.0, 2, 5)]).signature == "sum nll / ln 2 / sum bytes|bytes:5"
