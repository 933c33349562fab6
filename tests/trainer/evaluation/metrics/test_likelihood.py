import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.evaluation.metrics.builders import token_rows
from trainer.evaluation.metrics.base import Figure
from trainer.evaluation.metrics.likelihood import BitsPerByte, MaskedLoss, Perplexity

Row = tuple[float, int, int]
"""Likelihood in nats, tokens, bytes."""


def perplexity(*rows: Row) -> float:
    return Perplexity().compute(token_rows(*rows)).value or 0.0


def test_perplexity_is_that_of_a_cross_entropy_over_all_tokens() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(7, 11, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 11, (7,), generator=generator)
    nll = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    mean = torch.nn.functional.cross_entropy(logits, targets)

    assert perplexity((float(nll), 7, 20)) == pytest.approx(float(mean.exp()))


def test_a_model_that_guesses_among_equals_needs_their_logarithm_in_bits() -> None:
    # 12 bytes, each a token of its own, each guessed among 256 equally likely ones: 8 bits a byte.
    measured = (12 * math.log(256), 12, 12)

    assert perplexity(measured) == pytest.approx(256)
    assert BitsPerByte().compute(token_rows(measured)).value == pytest.approx(8)


parts = st.tuples(st.floats(0, 1e4), st.integers(1, 10_000), st.integers(1, 10_000))


@given(st.lists(parts, min_size=1, max_size=8))
def test_the_figure_of_the_whole_does_not_depend_on_how_it_was_split(split: list[Row]) -> None:
    nll, tokens, size = (math.fsum(column) for column in zip(*split, strict=True))

    if nll / tokens < 700:
        assert perplexity((nll, int(tokens), int(size))) == pytest.approx(perplexity(*split), rel=1e-9)
        assert perplexity(*split) == pytest.approx(math.exp(nll / tokens), rel=1e-9)
    assert BitsPerByte().compute(token_rows(*split)).value == pytest.approx(nll / math.log(2) / size, rel=1e-9)


def test_the_loss_of_masked_tokens_is_a_mean_in_nats() -> None:
    found = MaskedLoss().compute(token_rows((3.0, 2, 5), (5.0, 2, 5)))

    assert (found.value, found.unit, found.rows) == (2.0, "nats per masked token", 2)


@pytest.mark.parametrize("sums", [[], [(0.0, 0, 0)]], ids=["no rows", "rows without loss"])
def test_perplexity_is_left_out_with_the_reason_where_no_token_has_loss(sums: list[Row]) -> None:
    assert Perplexity().compute(token_rows(*sums)) == Figure(None, reason="there are no tokens with loss", rows=len(sums))


def test_the_perplexity_of_a_hopeless_model_is_infinite() -> None:
    assert perplexity((1e6, 1, 1)) == math.inf


def test_bits_per_byte_is_left_out_with_the_reason_where_no_bytes_were_counted() -> None:
    found = BitsPerByte().compute(token_rows((3.0, 2, 0)))

    assert (found.value, found.reason) == (None, "the tokens with loss have no text")


def test_a_signature_says_how_much_was_measured() -> None:
    assert Perplexity().compute(token_rows((3.0, 2, 5))).signature == "exp(sum nll / sum tokens)|tokens:2"
    assert BitsPerByte().compute(token_rows((3.0, 2, 5))).signature == "sum nll / ln 2 / sum bytes|bytes:5"
