"""What models are given of samples: rows padded on the right to one length. An encoder reads all of a sample but its tail.

Tests: tests/trainer/objectives/test_reading.py, tests/trainer/objectives/test_classification.py.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trainer.data.rows import Sample


def padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return rows of tokens, at least one, and their mask, both (rows, length) and int64; one position at least, if only of padding.

    Padding has id 0 and is masked by length: the pad id may be a real token.
    """
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.zeros((len(rows), max(1, int(lengths.max()))), dtype=torch.long)
    for line, row in zip(ids, rows, strict=True):
        line[: len(row)] = torch.tensor(row, dtype=torch.long)
    return ids, (torch.arange(ids.shape[1]) < lengths.unsqueeze(1)).long()


def read_inputs(samples: Sequence[Sample]) -> tuple[Mapping[str, Tensor], int]:
    """Return the model's arguments for what is read of each sample, and the number of tokens read."""
    ids, mask = padded([row.read for row in samples])
    return {"input_ids": ids, "attention_mask": mask}, int(mask.sum())


def refuse_packing(packed: bool) -> None:
    """Raise ValueError for rows to be packed: an encoder would read several as one text."""
    if packed:
        raise ValueError("the rows of an encoder cannot be packed")
