"""Where the documents of a packed row begin and end: what an objective tells the attention of the model.

A packed row is several samples one after the other, without padding. Their lengths travel through the model's forward pass as a
keyword argument that transformers' models hand on to their attention (trainer.model.attention). Test:
tests/trainer/model/test_attention.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Self

import torch
from torch import Tensor

from trainer.objectives.base import Tensors


@dataclass(frozen=True)
class Documents(Tensors):
    """The documents of one packed row."""

    lengths: tuple[int, ...]
    """Tokens of each document, in the order of the row; none is 0. Plain numbers, so that reading them waits for no device."""
    boundaries: Tensor
    """(documents + 1,); int32: where each document begins, and at last the length of the row."""

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Self:
        """Return documents of these lengths."""
        return cls(tuple(lengths), torch.tensor([0, *lengths]).cumsum(0).int())

    @property
    def runs(self) -> list[tuple[int, int]]:
        """Return (length, number) of each run of documents of equal length, which are computed at once."""
        return [(length, len(list(equal))) for length, equal in groupby(self.lengths)]

    def positions(self) -> Tensor:
        """Return (1, tokens): the position of each token in its own document, from 0."""
        return torch.cat([torch.arange(length) for length in self.lengths]).unsqueeze(0)

    def inputs(self, ids: Tensor) -> dict[str, Any]:
        """Return the arguments of a model's forward pass for the tokens `ids`, (1, tokens).

        A mask of four dimensions is one that transformers leaves as it is, so that it builds none; its content is not read.
        """
        mask = torch.ones((1, 1, 1, 1), dtype=torch.bool)
        return {"input_ids": ids, "position_ids": self.positions(), "attention_mask": mask, "documents": self}
