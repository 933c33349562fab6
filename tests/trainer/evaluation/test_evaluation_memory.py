"""An evaluation fits where training fits: with a large vocabulary, logits are what takes the memory."""

from collections.abc import Callable

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from finetune.api.sections import Packing, Training
from tests.trainer.allocations import Allocations
from tests.trainer.fixtures.batches import forward_of, step_batches
from tests.trainer.fixtures.causal import tiny_tokenizer
from trainer.data.rows import Sample
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.evaluation.measuring.tokens import token_rows
from trainer.evaluation.predictors import generate_over_ranks
from trainer.model.packing import padded_because
from trainer.objectives.causal import CAUSAL
from trainer.objectives.penalties import NO_PENALTIES
from trainer.training.batches import AtOnce
from trainer.training.loop import Progress, Supervision, train

VOCABULARY, MICRO, LENGTH, PROMPT = 65_000, 4, 40, 8
LOGITS = MICRO * (LENGTH - PROMPT) * VOCABULARY * 4
"""Bytes of the float32 logits of a micro-batch at its positions with loss."""


def engine() -> DdpEngine:
    torch.manual_seed(1)
    config = LlamaConfig(vocab_size=VOCABULARY, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                         num_key_value_heads=2, max_position_embeddings=3 * LENGTH, tie_word_embeddings=True)  # fmt: skip
    return DdpEngine(LlamaForCausalLM(config).float(), EngineSettings(AdamW(0.0), 1.0, MICRO, 1), torch.device("cpu"))


def rows(count: int, length: int = LENGTH) -> list[Sample]:
    generator = torch.Generator().manual_seed(2)
    mask = [index >= PROMPT for index in range(length)]
    drawn = (torch.randint(0, VOCABULARY, (length,), generator=generator).tolist() for _ in range(count))
    return [Sample(str(index), ids, mask, length, truncated=False, tail=0) for index, ids in enumerate(drawn)]


def peak(act: Callable[[], object]) -> int:
    with Allocations() as allocations:
        act()
    return allocations.peak


@pytest.fixture(scope="module")
def training_peak() -> int:
    trained, training = engine(), Training(max_steps=1, global_batch_size=MICRO, micro_batch_size=MICRO)
    batch = step_batches(rows(MICRO), micro_batch_size=MICRO)
    return peak(lambda: train(trained, forward_of(trained), CAUSAL, lambda _: batch, training, NO_PENALTIES, Progress(1, 1), Supervision()))


def test_perplexity_takes_no_more_memory_than_a_training_step(training_peak: int) -> None:
    measured = engine()
    found = peak(lambda: token_rows(measured, forward_of(measured), CAUSAL, rows(3 * MICRO), AtOnce(MICRO)))
    assert LOGITS / 2 < found < training_peak


def packable() -> DdpEngine:
    found = engine()
    forward = forward_of(found)
    assert padded_because(found.model, forward.compute, forward.arguments, Packing.ALWAYS, found.gather) is None
    return found


def test_that_holds_for_packed_rows_too() -> None:
    trained, measured, training = packable(), packable(), Training(max_steps=1, global_batch_size=MICRO, micro_batch_size=MICRO)
    batch = step_batches(rows(MICRO), packed=True)
    allowed = peak(
        lambda: train(trained, forward_of(trained), CAUSAL, lambda _: batch, training, NO_PENALTIES, Progress(1, 1), Supervision())
    )
    found = peak(
        lambda: token_rows(measured, forward_of(measured), CAUSAL, rows(3 * MICRO, LENGTH - 7), AtOnce(MICRO, packed=MICRO * LENGTH))
    )
    assert 0.4 * LOGITS < found < allowed


def test_the_logits_of_an_evaluation_never_exist_whole() -> None:
    measured, many = engine(), 8 * MICRO
    assert peak(lambda: token_rows(measured, forward_of(measured), CAUSAL, rows(many), AtOnce(many))) < 0.5 * 8 * LOGITS


def test_answers_take_less_memory_than_the_logits_of_a_training_step() -> None:
    measured, prompts = engine(), [[7] * PROMPT] * MICRO
    assert peak(lambda: generate_over_ranks(measured, tiny_tokenizer(), prompts, LENGTH - PROMPT, MICRO)) < LOGITS


def test_held_out_rows_that_are_longer_than_the_training_rows_take_no_more_memory(training_peak: int) -> None:
    measured, long = engine(), rows(MICRO, 3 * LENGTH)
    found = []
    assert (
        peak(lambda: found.append(token_rows(measured, forward_of(measured), CAUSAL, long, AtOnce(MICRO, MICRO * LENGTH)))) < training_peak
    )
    assert found[0].sums.nll_sum == pytest.approx(
        token_rows(measured, forward_of(measured), CAUSAL, long, AtOnce(MICRO)).sums.nll_sum, rel=1e-6
    )
