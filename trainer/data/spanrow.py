"""How a sample with an answer's place is built: a pair of texts as an encoder reads it, and behind it where things are.

The tail is three positions: where the second text begins, for models that are told (0: this one is not), and the targets, which are
the answer's first and last token. They have no loss where the text does not hold the answer that there is. Pure. Tests:
tests/trainer/objectives/test_span.py, tests/trainer/text/test_spans.py.
"""

from collections.abc import Sequence

from trainer.data.rows import Sample

TARGETS = 2
"""Units of a sample: the first and the last token of the answer."""
TAIL = 1 + TARGETS
"""Tokens of a sample that are not read."""
NOWHERE = (0, 0)
"""The targets where there is no answer, or another window has it: both are the first token, as in SQuAD 2."""

POSITIONS = {"start": 0, "end": 1}
"""What a model scores each token as, by the index of the score: label2id in its config.json."""
MAY_LACK = {"no answer": 0}
"""Beside them in the config.json of a model that may say that there is none: the first token stands for it."""


def span_sample(name: str, ids: Sequence[int], second: int, targets: tuple[int, int] | None, *, truncated: bool) -> Sample:
    """Return the sample of a pair of texts, whose second one begins at `second`; no targets: nothing that a model says of it is right."""
    mask = [0] * (len(ids) + TAIL - TARGETS) + [int(targets is not None)] * TARGETS
    return Sample(name, [*ids, second, *(targets or NOWHERE)], mask, 0, truncated, tail=TAIL)


def segments(size: int, second: int) -> list[int]:
    """Return which of two texts each of `size` tokens belongs to, 0 or 1; `second` is 0 where that is not marked."""
    return [0] * (second or size) + [1] * (size - (second or size))
