"""An encoder-decoder learns to copy and to reverse rows that it has not seen, through our own objective, engine, loop and generation."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from finetune.api.sections import Training
from tests.trainer.fixtures.seq2seq import LETTERS, tiny_seq2seq, word_tokenizer
from trainer.data.rows import Sample
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.evaluation.predictors import generate_over_ranks
from trainer.objectives.base import probed_forward
from trainer.objectives.penalties import NO_PENALTIES
from trainer.objectives.seq2seq import SEQ2SEQ, SEQ2SEQ_LM, Seq2SeqBatch
from trainer.training.loop import Progress, StepBatches, Supervision, train

BATCH = 64
HELD_OUT = 60


def pairs(seed: int = 1) -> list[tuple[str, str]]:
    """Return distinct pairs of a command on up to three letters, and its result."""
    generator = random.Random(seed)
    found = set()
    for _ in range(4000):
        letters = generator.choices(LETTERS, k=generator.randint(1, 3))
        for command, result in (("copy", letters), ("reverse", letters[::-1])):
            found.add((" ".join([command, *letters]), " ".join(result)))
    shuffled = sorted(found)
    generator.shuffle(shuffled)
    return shuffled


def sample(tokenizer: Any, source: str, target: str) -> Sample:
    read, written = tokenizer(source)["input_ids"], tokenizer(target)["input_ids"]
    return Sample(source, [*read, *written], [0] * len(read) + [1] * len(written), len(target), False, tail=len(written))


def random_steps(rows: list[Sample], seed: int = 2) -> Callable[[int], StepBatches[Seq2SeqBatch]]:
    def step(number: int) -> StepBatches[Seq2SeqBatch]:
        drawn = random.Random(1000 * seed + number).sample(rows, BATCH)
        batch = SEQ2SEQ.collate(drawn)
        return StepBatches([batch], batch.units, batch.tokens)

    return step


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("model_type", "layers", "steps", "rate"), [("t5", 2, 500, 3e-3), ("bart", 1, 300, 4e-3), ("marian", 1, 300, 4e-3)]
)
def test_copies_and_reversals_of_unseen_rows_are_all_exact(model_type: str, layers: int, steps: int, rate: float) -> None:
    tokenizer, found = word_tokenizer(), pairs()
    held_out, learned = found[:HELD_OUT], [sample(tokenizer, *pair) for pair in found[HELD_OUT:]]
    model = tiny_seq2seq(model_type, len(tokenizer), width=64, layers=layers)
    engine = DdpEngine(model.train(), EngineSettings(AdamW(0.01), 1.0, BATCH, 1), torch.device("cpu"))
    training = Training(max_steps=steps, global_batch_size=BATCH, micro_batch_size=BATCH, learning_rate=rate, warmup_ratio=0.1)
    losses: list[float] = []

    train(
        engine, probed_forward(model, engine.forward, SEQ2SEQ_LM), SEQ2SEQ, random_steps(learned), training, NO_PENALTIES,
        Progress(total_steps=steps, steps_per_epoch=steps), Supervision(lambda result: losses.append(result.train_loss)),
    )  # fmt: skip

    asked = [tokenizer(source)["input_ids"] for source, _ in held_out]
    answers = generate_over_ranks(engine, tokenizer, asked, 8, HELD_OUT)
    assert [answer.text for answer in answers] == [target for _, target in held_out]
    assert not any(answer.cut for answer in answers)
    assert losses[-1] < 0.05 < losses[0]
