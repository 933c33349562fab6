"""From the user's files to rows of tokens: read, check, deduplicate, split, tokenize, sample, augment, examine.

Needs no torch, and imports transformers, datasets and pyarrow only where a source needs them, so that a fault in local
input is told within seconds. Tests: tests/trainer/data/.
"""

from trainer.data.augment import Augmenter
from trainer.data.chat import prompt_and_reference, tokenize
from trainer.data.doctor import examine
from trainer.data.findings_evaluation import left_out_finding
from trainer.data.limits import ModelLimits
from trainer.data.prepare import prepare
from trainer.data.rows import Dataset, Example, Message, Tokens, digest_of
from trainer.data.sampler import batch_at, steps_total
from trainer.data.template import PLAIN_TEMPLATE, ensure_chat_template
from trainer.data.texts import Piece, PieceCount, count_pieces, pieces_of, vary

__all__ = [
    "PLAIN_TEMPLATE",
    "Augmenter",
    "Dataset",
    "Example",
    "Message",
    "ModelLimits",
    "Piece",
    "PieceCount",
    "Tokens",
    "batch_at",
    "count_pieces",
    "digest_of",
    "ensure_chat_template",
    "examine",
    "left_out_finding",
    "pieces_of",
    "prepare",
    "prompt_and_reference",
    "steps_total",
    "tokenize",
    "vary",
]
