"""A batch goes to a device with every tensor that it has, and with nothing else changed."""

from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

from trainer.data.rows import Sample
from trainer.data.spanrow import span_sample
from trainer.objectives.base import Tensors
from trainer.objectives.causal import CAUSAL
from trainer.objectives.classification import ClassificationObjective
from trainer.objectives.masked import MaskedObjective
from trainer.objectives.seq2seq import SEQ2SEQ
from trainer.objectives.span import SPAN

ROWS = [Sample("a", [4, 5, 6, 1], [0, 0, 0, 1], 0, False, tail=1), Sample("b", [7, 8, 2], [0, 0, 1], 0, False, tail=1)]
HIDDEN = [Sample("a", [4, 5, 6, 9], [0, 1, 0, 0], 0, False, tail=1)]
BATCHES = {
    "causal": CAUSAL.collate(ROWS),
    "causal, packed": CAUSAL.collate(ROWS, packed=True),
    "seq2seq": SEQ2SEQ.collate(ROWS),
    "masked": MaskedObjective().collate(HIDDEN),
    "classes": ClassificationObjective(("x", "y", "z")).collate(ROWS),
    "spans": SPAN.collate([span_sample("a", [4, 5, 6], 1, (1, 2), truncated=False)]),
}


def held(value: Any) -> Any:
    """Return the value with what it holds as plain data, each tensor as its shape and device."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.device.type
    if isinstance(value, Tensors):
        return {field.name: held(getattr(value, field.name)) for field in fields(value)}
    return {name: held(one) for name, one in value.items()} if isinstance(value, dict) else value


def moved(value: Any) -> Any:
    """Return what `held` gives of the same on the meta device."""
    if isinstance(value, dict):
        return {name: moved(one) for name, one in value.items()}
    return (value[0], "meta") if isinstance(value, tuple) and value[-1:] == ("cpu",) else value


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_a_batch_takes_all_its_tensors_to_a_device(batch: Any) -> None:
    found = batch.to(torch.device("meta"))
    assert type(found) is type(batch)
    assert held(found) == moved(held(batch))
    assert held(found) != held(batch)
    assert (found.units, found.tokens) == (batch.units, batch.tokens)
