"""What an encoder is given of samples: all but their tails, as rows padded on the right to one length.

Test: tests/trainer/objectives/test_classification.py.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trainer.data.rows import Sample


def read_inputs(samples: Sequence[Sample]) -> tuple[Mapping[str, Tensor], int]:
    """Return the model's arguments for what is read of each sample, and the number of tokens read.

    Padding has id 0 and is masked by length: the pad id may be a real token.
    """
    texts = [torch.tensor(row.read) for row in samples]
    input_ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True).long()
    lengths = torch.tensor([len(text) for text in texts])
    mask = (torch.arange(input_ids.shape[1]) < lengths.unsqueeze(1)).long()
    return {"input_ids": input_ids, "attention_mask": mask}, int(lengths.sum())


def refuse_packing(packed: bool) -> None:
    """Raise ValueError for rows to be packed: an encoder would read several as one text."""
    if packed:
        raise ValueError("the rows of an encoder cannot be packed")
