"""Warnings about the classes of labelled texts. Test: tests/trainer/tasks/test_text_classification.py."""

from collections import Counter
from collections.abc import Iterable

from trainer.text.label import LabelExample

FEW_OF_A_CLASS = 8
"""With fewer training rows of a class, a model seldom learns it."""
UNEVEN = 10
"""Times that the largest class may be as large as the smallest before it is worth saying."""


def class_findings(train: Iterable[LabelExample], classes: tuple[str, ...]) -> list[str]:
    """Report classes with few training rows, and classes of very different sizes."""
    counts = Counter(label for example in train for label in example.labels)
    sizes = sorted((counts[name], place) for place, name in enumerate(classes))
    findings = []
    few = [(count, place) for count, place in sizes if count < FEW_OF_A_CLASS]
    if few:
        count, place = few[0]
        many = f"1 of {len(classes)} classes has" if len(few) == 1 else f"{len(few)} of {len(classes)} classes have"
        findings.append(
            f"data.train: {many} fewer than {FEW_OF_A_CLASS} rows, such as {classes[place]!r} with {count}; they are hardly learned"
        )
    (smallest, rare), (largest, common) = sizes[0], sizes[-1]
    if largest >= UNEVEN * max(1, smallest):
        apart = f"from {smallest} rows ({classes[rare]!r}) to {largest} ({classes[common]!r})"
        findings.append(f"data.train: the classes differ in size, {apart}; accuracy says little of the rare ones, macroF1 counts all alike")
    return findings
