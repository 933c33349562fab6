"""From the user's files to rows of tokens: read, check, deduplicate, split, tokenize, sample, augment, examine.

Needs no torch, and imports transformers, datasets and pyarrow only where a source needs them, so that a fault in local
input is told within seconds. Tests: tests/trainer/data/.
"""

from trainer.data.augment import Augmenter
from trainer.data.prepare import prepare
from trainer.data.rows import Dataset, Example, Message, Tokens
from trainer.data.sampler import batch_at, steps_total

__all__ = ["Augmenter", "Dataset", "Example", "Message", "Tokens", "batch_at", "prepare", "steps_total"]
