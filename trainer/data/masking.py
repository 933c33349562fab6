"""Hides some tokens of a text, for a model that learns to name them (Devlin et al. 2018, arXiv:1810.04805, section 3.1).

Of the tokens that are no special ones 15 % are chosen: of these 80 % are replaced by the mask token, 10 % by any word (by chance the
same), and 10 % stay. How many are chosen does not depend on the draw. Test: tests/trainer/data/test_masking.py.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from trainer.data.rows import Sample

CHOSEN, MASKED, REPLACED = 0.15, 0.8, 0.1


@dataclass(frozen=True)
class Masking:
    """What must be known of a tokenizer to hide tokens."""

    mask: int
    """Id of the mask token."""
    before: tuple[int, ...]
    """Special tokens before a text."""
    after: tuple[int, ...]
    """And after it."""
    words: tuple[int, int]
    """The range of ids from which a replacement is drawn."""
    special: frozenset[int] = frozenset()
    """Those in the range that are no words."""

    def to_known(self) -> str:
        """Return it as one text, for what a task knows."""
        return json.dumps([self.mask, list(self.before), list(self.after), list(self.words), sorted(self.special)])

    @classmethod
    def from_known(cls, known: str) -> Self:
        """Return what `to_known` wrote."""
        mask, before, after, (first, last), special = json.loads(known)
        return cls(mask, tuple(before), tuple(after), (first, last), frozenset(special))

    def hide(self, name: str, text: Sequence[int], draw: random.Random, *, truncated: bool = False) -> Sample:
        """Return the sample of a text's tokens, without special ones: as it is read, and the hidden tokens after it."""
        read = [*self.before, *text, *self.after]
        first = max(1, len(self.before))  # the first position of a row has no loss
        places = range(first, len(read) - len(self.after))
        count = max(1, round(CHOSEN * len(places))) if places else 0
        chosen = sorted(draw.sample(places, count))
        hidden = [read[place] for place in chosen]
        mask = bytearray(len(read) + count)
        for place in chosen:
            mask[place] = 1
            read[place] = self._instead_of(read[place], draw)
        return Sample(name, [*read, *hidden], bytes(mask), 0, truncated, tail=count)

    def hide_again(self, sample: Sample, draw: random.Random) -> Sample:
        """Return the sample of the same text with another draw."""
        read, _ = text_of(sample)
        return self.hide(sample.id, read[len(self.before) : len(read) - len(self.after)], draw, truncated=sample.truncated)

    def _instead_of(self, token: int, draw: random.Random) -> int:
        chance = draw.random()
        if chance < MASKED:
            return self.mask
        if chance >= MASKED + REPLACED:
            return token
        while True:
            other = draw.randrange(*self.words)
            if other not in self.special:
                return other


def text_of(sample: Sample) -> tuple[list[int], list[int]]:
    """Return the tokens of a sample's text, special ones included, and those of them that it hides."""
    places = [place for place, marked in enumerate(sample.loss_mask) if marked]
    read, hidden = list(sample.read), list(sample.targets)
    for place, token in zip(places, hidden, strict=True):
        read[place] = token
    return read, hidden


def masking_of(tokenizer: Any, before: Sequence[int], after: Sequence[int]) -> Masking:
    """Return what is to be known of a tokenizer that puts these special tokens around a text."""
    special = frozenset(int(token) for token in tokenizer.all_special_ids)
    return Masking(int(tokenizer.mask_token_id), tuple(before), tuple(after), (0, len(tokenizer)), special)
