"""Figures of plain texts: as many as a validation affords, always the same ones, and by how much a model is worse than another."""

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from finetune.api.metrics import MetricName, Needs
from finetune.api.tasks import ModelFamily
from tests.trainer.fixtures import examples
from tests.trainer.fixtures.causal import tiny_model
from tests.trainer.fixtures.tokenizers import byte_tokenizer
from trainer.data.shards import Pieces, Shard, write_shard
from trainer.engine.inference import OneProcess
from trainer.evaluation.drift import increase_interval, increase_percent, likelihood
from trainer.evaluation.measurement import Measurement, measured_from
from trainer.evaluation.metrics.evidence import TokenRows
from trainer.evaluation.texts import Texts
from trainer.objectives.base import probed_forward
from trainer.tasks.registry import task_of
from trainer.text.pieces import pieces_of
from trainer.training.batches import AtOnce

CAUSAL = task_of("language-modeling", ModelFamily.CAUSAL)


def measured(nll: list[float], tokens: list[int], needs: Needs = Needs.TOKEN_SUMS) -> Measurement:
    rows = TokenRows(np.array(nll), np.array(tokens), np.array(tokens))
    return measured_from(needs, rows, [MetricName.MASKED_LOSS if needs is Needs.MASKED_SUMS else MetricName.PERPLEXITY])


def texts(count: int = 30) -> tuple[Any, Texts]:
    tokenizer = byte_tokenizer(specials=["<|endoftext|>"])
    pieces = [piece for number in range(count) for piece in pieces_of(examples.text(f"text {number} " * (1 + number % 4)), tokenizer, 16)]
    return tokenizer, Texts(CAUSAL, count, stored_pieces_of(pieces, count).samples)


def stored_pieces_of(pieces: list[Any], count: int) -> Any:
    """Return pieces on disk whose rows are those of their texts."""
    names = list(dict.fromkeys(piece.example.id for piece in pieces))
    assert len(names) == count
    with tempfile.TemporaryDirectory() as folder:
        write_shard(Path(folder), "key", [(names.index(piece.example.id), piece) for piece in pieces])
        found = Pieces(Shard.open(Path(folder), "key"), [piece.example for piece in pieces])
        list(found)
        return found


def test_a_sample_has_as_many_tokens_as_it_may_and_is_always_the_same() -> None:
    _, found = texts()
    sizes = [len(f"text {number} " * (1 + number % 4)) for number in range(30)]  # a byte is a token; the first has no loss, the end has
    chosen = found.sample(200)
    total = sum(sizes[number] for number in chosen)
    assert 200 - min(sizes) < total <= 200
    assert all(total + size > 200 for number, size in enumerate(sizes) if number not in chosen), "what fits is taken"
    assert list(chosen) == sorted(set(chosen.tolist()))
    assert np.array_equal(found.sample(200), chosen)
    assert len(found.sample(1)) == 1
    assert list(found.sample(10**6)) == list(range(30))


def test_a_small_sample_is_warned_of() -> None:
    _, found = texts()
    tokens = sum(len(f"text {number} " * (1 + number % 4)) for number in range(30))
    warning = found.warning("domainAdaptation.generalEvaluation")
    assert warning is not None
    few = f"domainAdaptation.generalEvaluation: a validation measures {tokens} tokens of it, fewer than 1,000"
    assert warning == f"{few}: the measured change may be off by several percent; add texts"
    assert texts(60)[1].warning("x") is None


def test_the_figures_of_a_sample_are_those_of_its_texts_alone() -> None:
    tokenizer, found = texts()
    engine = OneProcess(tiny_model(len(tokenizer)), torch.device("cpu"))
    forward = probed_forward(engine.model, engine.forward, CAUSAL.objective.family)
    whole = found.measure(engine, forward, AtOnce(4))
    some = found.sample(200)
    alone = found.measure(engine, forward, AtOnce(3), only=some)
    part = found.part(whole, some)
    assert likelihood(alone) == pytest.approx(likelihood(part), rel=1e-6)
    assert alone.figures[MetricName.PERPLEXITY].rows == len(some)
    assert likelihood(alone) != pytest.approx(likelihood(whole), rel=1e-6)


def test_an_encoders_figure_is_exp_of_its_masked_loss() -> None:
    found = measured([2.0, 4.0], [2, 4], Needs.MASKED_SUMS)
    assert likelihood(found) == pytest.approx(math.e)
    assert likelihood(measured([1e6], [1], Needs.MASKED_SUMS)) == math.inf


def test_the_increase_is_that_of_the_perplexities_and_its_interval_is_of_the_same_texts() -> None:
    random = np.random.default_rng(1)
    tokens = random.integers(20, 60, 40)
    base = random.normal(3, 1, 40).clip(0.5) * tokens
    tuned = base + 0.05 * tokens
    one, other = (measured(nll.tolist(), tokens.tolist()) for nll in (base, tuned))
    rise = increase_percent(likelihood(one), likelihood(other))
    assert rise == pytest.approx(100 * (math.exp(0.05) - 1))
    # Every text is worse by the same: texts differ, and still there is no doubt.
    interval = increase_interval(one, other)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((rise, rise))
    wider = increase_interval(one, measured((base + random.normal(0.05, 0.2, 40) * tokens).tolist(), tokens.tolist()))
    assert wider is not None
    assert wider.high - wider.low > 1


def test_few_texts_have_no_interval() -> None:
    few = measured([1.0] * 9, [1] * 9)
    assert increase_interval(few, few) is None
