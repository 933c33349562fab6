import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.evaluation.figures import Figure, Perplexity, figures


def test_perplexity_is_that_of_a_cross_entropy_over_all_tokens() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(7, 11, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 11, (7,), generator=generator)
    nll = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    mean = torch.nn.functional.cross_entropy(logits, targets)

    assert Perplexity(float(nll), 7, 20).perplexity == pytest.approx(float(mean.exp()))


def test_a_model_that_guesses_among_equals_needs_their_logarithm_in_bits() -> None:
    # 12 bytes, each a token of its own, each guessed among 256 equally likely ones: 8 bits a byte.
    measured = Perplexity(12 * math.log(256), tokens=12, bytes=12)

    assert measured.perplexity == pytest.approx(256)
    assert measured.bits_per_byte == pytest.approx(8)


parts = st.builds(Perplexity, st.floats(0, 1e4), st.integers(1, 10_000), st.integers(1, 10_000))


@given(st.lists(parts, min_size=1, max_size=8))
def test_the_figure_of_the_whole_does_not_depend_on_how_it_was_split(split: list[Perplexity]) -> None:
    total = sum(split, Perplexity())

    expected = math.exp(math.fsum(part.nll_sum for part in split) / sum(part.tokens for part in split)) if total.nll_sum < 700 else None
    if expected is not None:
        assert total.perplexity == pytest.approx(expected)
    assert total.bytes == sum(part.bytes for part in split)


def test_nothing_measured_is_not_a_number_and_a_hopeless_model_is_infinite() -> None:
    assert math.isnan(Perplexity().perplexity)
    assert math.isnan(Perplexity().bits_per_byte)
    assert Perplexity(nll_sum=1e6, tokens=1, bytes=1).perplexity == math.inf


def test_figures_have_the_names_of_report_and_status() -> None:
    named = figures(Perplexity(3.0, 2, 5), {"bleu": Figure(31.0, "sig")})

    assert list(named) == ["perplexity", "bitsPerByte", "bleu"]
    assert "tokens:2" in (named["perplexity"].signature or "")


def test_bits_per_byte_is_left_out_where_no_bytes_were_counted() -> None:
    assert list(figures(Perplexity(3.0, 2, 0), {})) == ["perplexity"]
