"""What a run learns at each step: every token with loss once an epoch, whatever the number of ranks and interruptions."""

from collections import Counter
from typing import Any, cast

from tests.builders import train_config
from tests.trainer.fixtures import examples, tokenizers
from trainer.data.rows import Dataset
from trainer.rank.rows import AugmentedWords, Batches, Rows
from trainer.tasks.language_modeling import TASK as LANGUAGE_MODELING

LONG = "The river is green. " * 40
SWAPS = {"operations": [{"wordSwap": {"probability": 0.2}}], "augmentedShare": 0.5}


class OneRank:
    """What a run asks of an engine to deal out rows."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size


def dealt(first_step: int, steps: int, *, ranks: int = 1, **changes: Any) -> list[Counter[int]]:
    """Return the targets with loss of each step of a run over long texts, of all its ranks together."""
    config = train_config(task="language-modeling", **changes)
    tokenizer = tokenizers.byte_tokenizer(None, eos="</s>")
    dataset = Dataset((examples.text(LONG), examples.text("Short.")), (), ())
    rows = Rows.of(LANGUAGE_MODELING, dataset, tokenizer, config.training.max_sequence_length)
    counted = [Counter[int]() for _ in range(steps)]
    for rank in range(ranks):
        batches = Batches(config, rows.train, tokenizer, cast(Any, OneRank(rank, ranks)), AugmentedWords())
        for step, targets in enumerate(counted):
            for batch in batches(first_step + step):
                targets.update(batch.targets[batch.loss_mask].tolist())
    return counted


def test_an_epoch_over_long_texts_learns_each_of_their_tokens_once() -> None:
    training = {"epochs": 1, "globalBatchSize": 2, "microBatchSize": 1, "maxSequenceLength": 100}
    # 801 tokens make 9 pieces, 7 tokens one: 10 rows, 5 steps.
    learnt = sum(dealt(0, 5, training=training), Counter())
    tokenizer = tokenizers.byte_tokenizer(None, eos="</s>")
    texts = [tokenizer(LONG)["input_ids"], tokenizer("Short.")["input_ids"]]
    assert learnt == Counter(token for ids in texts for token in [*ids[1:], tokenizer.eos_token_id])


def test_what_a_step_over_long_texts_learns_depends_on_neither_ranks_nor_interruptions() -> None:
    training = {"epochs": 3, "globalBatchSize": 4, "microBatchSize": 1, "maxSequenceLength": 100}
    whole = dealt(0, 6, training=training, augmentation=SWAPS)
    assert dealt(0, 6, ranks=2, training=training, augmentation=SWAPS) == whole
    assert dealt(3, 3, training=training, augmentation=SWAPS) == whole[3:]


def test_words_that_augmentation_changes_are_counted() -> None:
    words = AugmentedWords(changed=3, seen=10)
    words.add(1, 10)
    assert words.to_state() == [4, 20]
    assert words.to_report() == {"wordsChanged": 4, "words": 20, "changedShare": 0.2}
    assert AugmentedWords().to_report()["changedShare"] == 0.0
