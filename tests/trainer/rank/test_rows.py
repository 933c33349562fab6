"""What a run learns at each step: every token with loss once an epoch, whatever the number of ranks and interruptions."""

import threading
from collections import Counter
from typing import Any, cast

import pytest

from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from tests.trainer.fixtures import examples, tokenizers
from tests.trainer.fixtures.learned import causal_task
from tests.trainer.fixtures.ranks import Ranks, ThreadRank, on_all_ranks
from tests.trainer.fixtures.stored import stored_pieces
from trainer.augmentation.augmenter import Augmenter
from trainer.augmentation.counts import AugmentedRows
from trainer.data.shards import Pieces, Shard
from trainer.rank.resuming import Start
from trainer.rank.rows import Batches, Rows
from trainer.rank.training import progress_at, validation_every
from trainer.text.pieces import pieces_of

LONG = "The river is green. " * 40
SWAPS = {"operations": [{"wordSwap": {"probability": 0.2}}], "augmentedShare": 0.5}


def long_texts(**changes: Any) -> tuple[TrainConfig, Any, Pieces]:
    """Return a job over a long and a short text, its tokenizer, and the pieces of both."""
    config, tokenizer = train_config(task="language-modeling", **changes), tokenizers.byte_tokenizer(None, eos="</s>")
    texts, length = (examples.text(LONG), examples.text("Short.")), config.training.max_sequence_length
    return config, tokenizer, stored_pieces(piece for text in texts for piece in pieces_of(text, tokenizer, length))


def dealt(first_step: int, steps: int, *, ranks: int = 1, packed: bool = False, **changes: Any) -> tuple[list[Counter[int]], list[int]]:
    """Return the targets with loss of each step of a run over long texts, of all its ranks together, and the words counted by each."""
    config, tokenizer, pieces = long_texts(**changes)

    def take(rank: ThreadRank) -> tuple[list[Counter[int]], list[int]]:
        words = AugmentedRows()
        batches = Batches(causal_task(config), config, pieces, tokenizer, cast(Any, rank), packed=packed)
        prepared = [batches.prepare(first_step + step) for step in range(steps)]
        for step in prepared:
            words.add(step.varied)
        taken = [cast(Any, step.batches.micro_batches) for step in prepared]
        return [Counter(token for batch in own for token in batch.targets.tolist()) for own in taken], words.to_state()

    of_ranks = on_all_ranks(ranks, take)
    assert len({tuple(words) for _, words in of_ranks}) == 1, "every rank counts the words of all"
    return [sum(of_step, Counter()) for of_step in zip(*(counts for counts, _ in of_ranks), strict=True)], of_ranks[0][1]


@pytest.mark.parametrize("packed", [False, True])
def test_an_epoch_over_long_texts_learns_each_of_their_tokens_once(packed: bool) -> None:
    training = {"epochs": 1, "globalBatchSize": 2, "microBatchSize": 1, "maxSequenceLength": 100}
    # 801 tokens make 9 pieces, 7 tokens one: 10 rows, 5 steps.
    learned = sum(dealt(0, 5, packed=packed, training=training)[0], Counter())
    tokenizer = tokenizers.byte_tokenizer(None, eos="</s>")
    texts = [tokenizer(LONG)["input_ids"], tokenizer("Short.")["input_ids"]]
    assert learned == Counter(token for ids in texts for token in [*ids[1:], tokenizer.eos_token_id])


def test_what_a_step_over_long_texts_learns_depends_on_neither_ranks_nor_interruptions() -> None:
    training = {"epochs": 3, "globalBatchSize": 4, "microBatchSize": 1, "maxSequenceLength": 100}
    whole, words = dealt(0, 6, training=training, augmentation=SWAPS)
    assert dealt(0, 6, ranks=2, training=training, augmentation=SWAPS) == (whole, words)
    assert dealt(3, 3, training=training, augmentation=SWAPS)[0] == whole[3:]
    for ranks in (1, 2):
        assert dealt(0, 6, ranks=ranks, packed=True, training=training, augmentation=SWAPS) == (whole, words)
    assert words[1] > words[0] > 0


@pytest.mark.parametrize("changes", [{}, {"augmentation": SWAPS}], ids=["as they are", "varied"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_every_rank_knows_the_counts_of_the_whole_step(ranks: int, changes: dict[str, Any]) -> None:
    training = {"epochs": 1, "globalBatchSize": 4, "microBatchSize": 1, "maxSequenceLength": 100}
    config, tokenizer, pieces = long_texts(training=training, **changes)
    of_ranks = on_all_ranks(ranks, lambda rank: Batches(causal_task(config), config, pieces, tokenizer, cast(Any, rank)).prepare(1).batches)
    computed = [batch for own in of_ranks for batch in own.micro_batches]
    whole = (sum(batch.units for batch in computed), sum(batch.tokens for batch in computed))
    assert {(own.units, own.tokens) for own in of_ranks} == {whole}
    assert whole[1] > whole[0] > 100


def test_ranks_exchange_nothing_about_rows_that_do_not_vary() -> None:
    config, tokenizer, pieces = long_texts(training={"epochs": 1, "globalBatchSize": 4, "maxSequenceLength": 100})
    alone = cast(Any, ThreadRank(0, Ranks(2)))  # would wait for the other rank
    assert Batches(causal_task(config), config, pieces, tokenizer, alone).prepare(0).batches.units > 0


def test_a_rank_reads_and_tokenizes_no_row_that_another_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    sample = Shard.sample
    monkeypatch.setattr(Shard, "sample", lambda shard, index: (read.append(index), sample(shard, index))[1])
    tokenizer = tokenizers.byte_tokenizer(None, eos="</s>")
    config = train_config(task="language-modeling", training={"epochs": 1, "globalBatchSize": 8, "microBatchSize": 2})
    pieces = stored_pieces(piece for number in range(8) for piece in pieces_of(examples.text("word " * (number + 1)), tokenizer, 100))
    read.clear()
    for rank in range(4):
        Batches(causal_task(config), config, pieces, tokenizer, cast(Any, ThreadRank(rank, Ranks(4)))).prepare(0)
    assert sorted(read) == list(range(8))


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_rank_varies_and_tokenizes_no_row_of_a_step_twice(ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    varied: list[tuple[int, str]] = []
    sample = Augmenter.sample

    def note(augmenter: Augmenter, task: Any, piece: Any, *others: Any) -> Any:
        varied.append((threading.get_ident(), piece.tokens.id))
        return sample(augmenter, task, piece, *others)

    monkeypatch.setattr(Augmenter, "sample", note)
    training = {"epochs": 1, "globalBatchSize": 10, "microBatchSize": 1, "maxSequenceLength": 100}
    dealt(0, 1, ranks=ranks, training=training, augmentation=SWAPS)
    assert len(varied) == len(set(varied))
    assert len({row for _, row in varied}) == 10


COPIES = {"operations": [{"wordSwap": {"probability": 0.3}}, {"punctuationInsertion": {"probability": 0.3}}], "copiesPerRow": 3}


@pytest.mark.parametrize("grouped", [False, True])
def test_an_epoch_has_each_row_as_it_is_and_its_copies(grouped: bool) -> None:
    training = {"epochs": 1, "globalBatchSize": 8, "microBatchSize": 1, "maxSequenceLength": 100, "groupByLength": grouped}
    plain = sum(dealt(0, 5, training=training | {"globalBatchSize": 2})[0], Counter())  # 10 rows
    nothing = {"operations": [{"wordSwap": {"probability": 0.0}}], "copiesPerRow": 3}
    equal, counts = dealt(0, 5, training=training, augmentation=nothing)  # 40 rows
    assert sum(equal, Counter()) == Counter({token: 4 * count for token, count in plain.items()})
    assert AugmentedRows.from_state(counts).to_report()["rows"] == {"original": 10, "generated": 30}
    assert AugmentedRows.from_state(counts).unchanged == 30
    different, counts = dealt(0, 5, training=training, augmentation=COPIES)
    assert sum(different, Counter()) != sum(equal, Counter())
    assert not plain - sum(different, Counter())  # the rows themselves are there
    assert AugmentedRows.from_state(counts).unchanged < 30


@pytest.mark.parametrize("grouped", [False, True])
def test_copies_depend_on_neither_ranks_nor_interruptions(grouped: bool) -> None:
    training = {"epochs": 2, "globalBatchSize": 4, "microBatchSize": 1, "maxSequenceLength": 120, "groupByLength": grouped}
    whole, counts = dealt(0, 20, training=training, augmentation=COPIES)
    assert dealt(0, 20, ranks=2, training=training, augmentation=COPIES) == (whole, counts)
    assert dealt(7, 13, ranks=2, packed=True, training=training, augmentation=COPIES)[0] == whole[7:]


def test_steps_epochs_and_validation_count_the_copies() -> None:
    config = train_config(training={"epochs": 2, "globalBatchSize": 4}, augmentation=COPIES)
    rows = Rows(cast(Any, range(10)), cast(Any, range(2)), ())
    progress = progress_at(Start(), config, rows)
    assert (progress.total_steps, progress.steps_per_epoch) == (20, 10.0)  # 40 rows
    assert validation_every(config, rows) == 10
    assert validation_every(train_config(training={"epochs": 2, "globalBatchSize": 4}, augmentation=SWAPS), rows) == round(10 / 4)
