"""Held-out rows of a task, and how they are evaluated: what every way of measuring is given.

Needs no torch itself. Test: tests/trainer/evaluation/test_heldout.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from finetune.api.evaluation import Generation, TextNormalization
from trainer.data.rows import E, Sample
from trainer.evaluation.metrics.evidence import Tags
from trainer.tasks.base import Task
from trainer.training.batches import AtOnce

Between = Callable[[], None]
"""Called on every rank before each batch of an evaluation; may raise to end it, on all ranks or none."""


@dataclass(frozen=True)
class HeldOut(Generic[E]):
    """Held-out rows of a task, and how they are evaluated."""

    task: Task[E]
    tokenizer: Any
    examples: Sequence[E]
    rows: Sequence[Sample]
    """The tokenized `examples`; a long text is several."""
    at_once: AtOnce
    max_length: int
    """The job's maximum row length in tokens; a longer prompt loses its beginning."""
    generation: Generation
    normalization: TextNormalization = TextNormalization.BASIC
    tagged: bool = True
    """Whether source and group of the rows are wanted: for that, all examples are read."""

    def tags(self) -> tuple[Tags, Tags]:
        """Return source and group of each example; of none where they are not wanted."""
        if not self.tagged:
            return Tags(), Tags()
        pairs = [(example.source, example.group) for example in self.examples]
        return Tags.of(source for source, _ in pairs), Tags.of(group for _, group in pairs)
