"""What augmentation did is counted, kept in checkpoints, and reported."""

from trainer.augmentation.counts import NAMES, AugmentedRows


def test_counts_add_up_and_survive_a_checkpoint() -> None:
    counts = AugmentedRows(changed=3, seen=10, original=1)
    counts.add(AugmentedRows(1, 10, generated=2, unchanged=1, operations=list(range(len(NAMES)))))
    assert AugmentedRows.from_state(counts.to_state()) == counts
    assert counts.to_report(["wordDropout"], [("a", "b")]) == {
        "rows": {"original": 1, "generated": 2},
        "unchanged": 1,
        "wordsChanged": 4,
        "words": 20,
        "changedShare": 0.2,
        "operations": {"wordDropout": NAMES.index("wordDropout")},
        "examples": [{"before": "a", "after": "b"}],
    }
    assert AugmentedRows().to_report()["changedShare"] == 0.0


def test_a_checkpoint_of_a_version_that_counted_words_alone_is_read() -> None:
    assert AugmentedRows.from_state([4, 20]) == AugmentedRows(4, 20)
