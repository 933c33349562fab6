"""Rows of like length: what a step trains on depends on neither ranks, micro-batches nor interruptions, and little of it is padding."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from finetune.api.sections import Training
from tests.builders import train_config
from tests.trainer.fixtures import examples, tokenizers
from tests.trainer.fixtures.encoders import CLASSES, tiny_encoder
from tests.trainer.fixtures.learned import causal_task
from tests.trainer.fixtures.ranks import ThreadRank, on_all_ranks
from tests.trainer.fixtures.stored import stored_pieces
from trainer.data.rows import Piece, Sample
from trainer.data.sampler import order_of, random_for
from trainer.data.shards import Pieces
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.objectives.base import probed_forward
from trainer.objectives.classification import ClassBatch, ClassificationObjective
from trainer.objectives.penalties import Penalties
from trainer.rank.rows import Batches
from trainer.text.pieces import pieces_of
from trainer.training.loop import backward

OBJECTIVE = ClassificationObjective(CLASSES)
ROWS, BATCH = 203, 12
"""A number of rows that no batch divides: epochs meet within a step."""
SWAPS = {"operations": [{"wordDropout": {"probability": 0.3}}], "augmentedShare": 0.5}


def texts() -> Pieces:
    """Return encoded texts, most of them short; the first token after [CLS] is the row's own number."""
    random = random_for("texts")
    made = []
    for number in range(ROWS):
        body = [random.randrange(5, 200) for _ in range(min(60, int(random.expovariate(1 / 10))))]
        ids = [2, number, *body, 3]
        made.append(Piece(None, Sample(f"row-{number}", [*ids, number % 3], [0] * len(ids) + [1], 0, truncated=False, tail=1)))
    return stored_pieces(made)


def training(*, grouped: bool, micro: int = 4) -> dict[str, Any]:
    return {"epochs": 3, "globalBatchSize": BATCH, "microBatchSize": micro, "groupByLength": grouped, "packing": "never"}


def drawn(steps: Sequence[int], *, ranks: int = 1, grouped: bool = True, micro: int = 4) -> list[list[list[ClassBatch]]]:
    """Return the micro-batches of each rank in each of these steps."""
    config, pieces = train_config(training=training(grouped=grouped, micro=micro)), texts()

    def take(rank: ThreadRank) -> list[list[ClassBatch]]:
        batches = Batches(cast(Any, SimpleNamespace(objective=OBJECTIVE)), config, pieces, None, cast(Any, rank))
        return [list(cast(Any, batches.prepare(step).batches.micro_batches)) for step in steps]

    return [list(of_step) for of_step in zip(*on_all_ranks(ranks, take), strict=True)]


def numbers(batches: Sequence[ClassBatch]) -> list[int]:
    return [number for batch in batches for number in batch.inputs["input_ids"][:, 1].tolist()]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_every_step_has_the_rows_of_the_order_however_many_ranks_there_are_and_wherever_a_run_begins(ranks: int) -> None:
    steps = range(36)  # two epochs and the beginning of a third
    order = order_of(Training.model_validate(training(grouped=True)), texts().samples)
    expected = [sorted(row for _, row in order.batch(step)) for step in steps]
    found = [[numbers(own) for own in of_step] for of_step in drawn(steps, ranks=ranks)]
    assert [sorted(number for own in of_step for number in own) for of_step in found] == expected
    assert {len(own) for of_step in found for own in of_step} == {BATCH // ranks}
    assert [[numbers(own) for own in of_step] for of_step in drawn(range(19, 36), ranks=ranks)] == found[19:]


def test_varied_rows_are_those_of_the_order_on_one_rank_and_on_two() -> None:
    tokenizer, config = tokenizers.byte_tokenizer(None, eos="</s>"), train_config(
        task="language-modeling", augmentation=SWAPS, training=training(grouped=True) | {"maxSequenceLength": 400}
    )  # fmt: skip
    pieces = stored_pieces(
        piece for number in range(60) for piece in pieces_of(examples.text(f"{number} word" * (1 + number % 9)), tokenizer, 400)
    )

    def take(rank: ThreadRank) -> list[list[tuple[int, ...]]]:
        batches = Batches(causal_task(config), config, pieces, tokenizer, cast(Any, rank))
        taken = [cast(Any, batches.prepare(step).batches.micro_batches) for step in range(2, 7)]
        return [[tuple(batch.targets.tolist()) for batch in own] for own in taken]

    one, two = (on_all_ranks(ranks, take) for ranks in (1, 2))
    tokens = [[sorted(sum((target for own in ranks for target in own[step]), ())) for step in range(5)] for ranks in (one, two)]
    assert tokens[0] == tokens[1]
    assert len(tokens[0][0]) > BATCH


def test_little_of_a_step_is_padding() -> None:
    def padding(*, grouped: bool) -> float:
        batches = [batch for of_step in drawn(range(17), grouped=grouped, micro=BATCH) for own in of_step for batch in own]
        return sum(batch.inputs["input_ids"].numel() for batch in batches) / sum(batch.tokens for batch in batches) - 1

    assert padding(grouped=False) > 1.0
    assert padding(grouped=True) < 0.25 * padding(grouped=False)


@pytest.mark.parametrize("micro", [1, 3, 5])
def test_the_gradient_of_a_step_does_not_depend_on_its_micro_batches(micro: int) -> None:
    def gradient(micro: int) -> torch.Tensor:
        model = tiny_encoder(OBJECTIVE.family.auto_class, **OBJECTIVE.family.settings).double()
        engine = DdpEngine(model, EngineSettings(AdamW(0.0), 0.0, micro, -(-BATCH // micro)), torch.device("cpu"))
        forward = probed_forward(model, engine.forward, OBJECTIVE.family)
        config = train_config(training=training(grouped=True, micro=micro))
        batches = Batches(cast(Any, SimpleNamespace(objective=OBJECTIVE)), config, texts(), None, engine).prepare(4).batches
        assert len(batches.micro_batches) == -(-BATCH // micro)
        backward(engine, OBJECTIVE, forward, cast(Any, batches), Penalties())
        return torch.cat([values.flatten() for values in engine.full_gradients().values()])

    whole = gradient(BATCH)
    assert float((gradient(micro) - whole).norm()) < 1e-6 * float(whole.norm())
