"""What augmentation did to the rows of a run so far, over all ranks: in checkpoints, and in report.json.

Pure. Test: tests/trainer/augmentation/test_counts.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic.alias_generators import to_camel

from finetune.api.augmentation import OPERATIONS

NAMES = tuple(map(to_camel, OPERATIONS))
"""Operations in the order in which checkpoints store their counts: new ones come last."""


@dataclass
class AugmentedRows:
    """Rows and words drawn so far."""

    changed: int = 0
    """Words that were changed, moved or left out."""
    seen: int = 0
    """Words of all rows, without those that were inserted."""
    original: int = 0
    """Rows as they are."""
    generated: int = 0
    """Rows that the operations were applied to."""
    unchanged: int = 0
    """Those of them that came out as they were."""
    operations: list[int] = field(default_factory=lambda: [0] * len(NAMES))
    """Words that each operation changed, moved, left out or inserted; marks, for punctuation; texts, where a model wrote others."""

    @classmethod
    def from_state(cls, counts: Sequence[int]) -> Self:
        """Return what `to_state` wrote, also in an earlier version, which counted less."""
        changed, seen, original, generated, unchanged, *operations = [*counts, *[0] * (5 + len(NAMES) - len(counts))]
        return cls(changed, seen, original, generated, unchanged, operations)

    def to_state(self) -> list[int]:
        """Return the counts as a checkpoint stores them."""
        return [self.changed, self.seen, self.original, self.generated, self.unchanged, *self.operations]

    def add(self, more: "AugmentedRows") -> None:
        """Add other counts, such as those of a step."""
        for name in ("changed", "seen", "original", "generated", "unchanged"):
            setattr(self, name, getattr(self, name) + getattr(more, name))
        self.operations = [one + other for one, other in zip(self.operations, more.operations, strict=True)]

    def to_report(self, applied: Sequence[str] = (), examples: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
        """Return the counts as in report.json, of the operations `applied` by the job, with texts before and after; shares are 0 to 1."""
        counts: Mapping[str, int] = dict(zip(NAMES, self.operations, strict=True))
        return {
            "rows": {"original": self.original, "generated": self.generated},
            "unchanged": self.unchanged,
            "wordsChanged": self.changed,
            "words": self.seen,
            "changedShare": self.changed / max(1, self.seen),
            "operations": {name: counts[name] for name in dict.fromkeys(applied)},
            "examples": [{"before": before, "after": after} for before, after in examples],
        }
