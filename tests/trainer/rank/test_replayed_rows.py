"""What ranks compute of replayed rows: all rows of the step together, as they are on disk, whatever the layout and whoever resumes."""

from collections import Counter
from typing import Any, cast

import pytest

from tests.builders import train_config
from tests.trainer.fixtures import examples, tokenizers
from tests.trainer.fixtures.learned import causal_task
from tests.trainer.fixtures.ranks import ThreadRank, on_all_ranks
from tests.trainer.fixtures.stored import stored_pieces
from trainer.data.shards import Pieces
from trainer.rank.rows import Batches, Rows, order_for
from trainer.text.pieces import pieces_of

DIGITS = set(b"0123456789")
SWAPS = {"operations": [{"wordSwap": {"probability": 1.0}}], "augmentedShare": 1.0}
COPIES = {"operations": [{"wordSwap": {"probability": 1.0}}], "copiesPerRow": 2}
TRAINING = {"epochs": 3, "globalBatchSize": 8, "microBatchSize": 2, "maxSequenceLength": 100}
REPLAY = {"replay": {"sources": [{"path": "/replay.jsonl"}], "share": 0.25}}


def pieces(tokenizer: Any, texts: list[str]) -> Pieces:
    return stored_pieces(piece for text in texts for piece in pieces_of(examples.text(text), tokenizer, 100))


def learned(first: int, steps: int, *, ranks: int = 1, packed: bool = False, training: dict[str, Any] | None = None,
            **changes: Any) -> list[Counter[int]]:  # fmt: skip
    """Return the targets of each step, of all ranks together. Only replayed rows hold digits."""
    config = train_config(task="language-modeling", training=TRAINING | (training or {}), domainAdaptation=REPLAY, **changes)
    tokenizer = tokenizers.byte_tokenizer(None, eos="</s>")
    own = pieces(tokenizer, [f"{'word ' * (number % 7)}{chr(97 + number)} end" for number in range(18)])
    replayed = pieces(tokenizer, [f"{number} {number * 7}" for number in range(10, 14)])

    def take(rank: ThreadRank) -> list[Counter[int]]:
        batches = Batches(causal_task(config), config, own, tokenizer, cast(Any, rank), packed=packed, replay=replayed)
        prepared = [cast(Any, batches.prepare(first + step).batches.micro_batches) for step in range(steps)]
        return [Counter(token for batch in step for token in batch.targets.tolist()) for step in prepared]

    return [sum(of_step, Counter()) for of_step in zip(*on_all_ranks(ranks, take), strict=True)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"training": {"groupByLength": True}},
        {"augmentation": SWAPS},
        {"augmentation": COPIES},
        {"augmentation": COPIES, "training": {"groupByLength": True}},
    ],
    ids=["plain", "grouped", "varied", "copies", "grouped copies"],
)
def test_what_a_step_learns_depends_on_neither_ranks_nor_layout_nor_interruptions(changes: dict[str, Any]) -> None:
    whole = learned(0, 9, **changes)
    assert learned(0, 9, ranks=2, **changes) == whole
    assert learned(0, 9, ranks=4, packed=True, **changes) == whole
    assert learned(5, 4, **changes) == whole[5:]


def test_every_step_learns_its_share_of_replayed_rows_and_they_are_never_varied() -> None:
    tokenizer = tokenizers.byte_tokenizer(None, eos="</s>")
    digits = {token for token in range(len(tokenizer)) if set(tokenizer.decode([token]).encode()) <= DIGITS and tokenizer.decode([token])}
    varied = learned(0, 9, augmentation=SWAPS)
    # The first digit of a row has no loss; two more words of digits follow it. Swapped, the space would come elsewhere.
    plain = learned(0, 9)
    for step, other in zip(varied, plain, strict=True):
        assert {token: step[token] for token in digits} == {token: other[token] for token in digits}
        assert sum(step[token] for token in digits) > 0
    # 18 rows and 6 replayed ones are three steps of 8, each with two of these.
    assert sum(sum(step[token] for token in digits) for step in plain[:3]) == sum(
        len(f"{number}{number * 7}") - 1 for number in [*range(10, 14), *replayed_again()]
    )


def replayed_again() -> list[int]:
    """Return the two rows of the first epoch that come twice, as the order says."""
    config = train_config(training=TRAINING, domainAdaptation=REPLAY)
    tokenizer = tokenizers.byte_tokenizer(None, eos="</s>")
    order = order_for(config, pieces(tokenizer, [chr(97 + number) for number in range(18)]), pieces(tokenizer, list("abcd")))
    often = Counter(row - 18 for step in range(3) for _, row in order.batch(step) if row >= 18)
    assert sorted(often.values()) == [1, 1, 2, 2]
    return [10 + row for row, count in often.items() if count == 2]


def test_epochs_count_what_is_drawn() -> None:
    tokenizer = tokenizers.byte_tokenizer(None, eos="</s>")
    own, replayed = pieces(tokenizer, ["a", "b", "c", "d", "e", "f"]), pieces(tokenizer, ["x", "yy yy"])
    rows = Rows(own, (), (), replayed)
    assert rows.per_epoch(train_config(domainAdaptation=REPLAY)) == 8
    assert Rows(own, (), ()).per_epoch(train_config()) == 6
    assert rows.longest == 6


def test_copies_are_rows_of_the_epoch_that_replayed_ones_have_their_share_of() -> None:
    tokenizer = tokenizers.byte_tokenizer(None, eos="</s>")
    config = train_config(training=TRAINING, domainAdaptation=REPLAY, augmentation=COPIES)
    own, replayed = pieces(tokenizer, [chr(97 + number) for number in range(18)]), pieces(tokenizer, list("abcd"))
    assert Rows(own, (), (), replayed).per_epoch(config) == 72  # three of each row, and a quarter of all
    order = order_for(config, own, replayed)
    drawn = Counter(row for step in range(9) for _, row in order.batch(step))
    assert {row: drawn[row] for row in range(54)} == dict.fromkeys(range(54), 1)
    assert sorted(drawn[row] for row in range(54, 58)) == [4, 4, 5, 5]
    assert not any(row >= 58 for row in drawn)
