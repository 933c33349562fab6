"""How many bytes a step needs besides weights and optimizer: counted on torch's meta device, which has shapes but no data.

Test: tests/trainer/model/test_activations.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional

from trainer.objectives.family import Family, probe_inputs
from trainer.outputs import logits_of

PROBE_TOKENS = 64


def activation_bytes(model: Any, dtype: torch.dtype, tokens: int, family: Family) -> int | None:
    """Return what a forward pass of `tokens` tokens in `dtype` keeps, without weights and logits; None where it cannot be computed.

    `model` is on the meta device. Attention keeps its inputs and its output, as fused kernels do; all else grows with the tokens.
    """
    if model is None:
        return None
    try:
        return round(_kept_bytes(model.to(dtype).train(), family) * tokens / PROBE_TOKENS)
    except Exception:  # an architecture may need data where there are none
        return None


def logits_bytes(model: Any, dtype: torch.dtype, positions: int, *, pulled: bool) -> int:
    """Return what the loss of `positions` takes where the logits of all of them exist; 0 for a model that predicts no tokens.

    They are there as the model gives them and, chosen, once more, both in `dtype`; in 16 bits then in float32; and as log-probabilities
    in float32. The backward pass takes no more. A model that is `pulled` to its base has the base's chosen logits too.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    layer = base.get_output_embeddings() if hasattr(base, "get_output_embeddings") else None
    if layer is None:
        return 0
    exact = torch.float32.itemsize
    chosen = dtype.itemsize if dtype is torch.float32 else dtype.itemsize + exact
    each = dtype.itemsize + chosen + exact + (dtype.itemsize if pulled else 0)
    return positions * int(layer.weight.shape[0]) * each


def _kept_bytes(model: Any, family: Family) -> int:
    weights = {id(parameter) for parameter in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        base = tensor if tensor._base is None else tensor._base
        if id(base) not in weights and not isinstance(base, torch.nn.Parameter):
            kept[id(base)] = base  # which keeps the tensor, so that no other gets its id
        return tensor

    ids = torch.ones((1, PROBE_TOKENS), dtype=torch.long, device="meta")
    # Given whole, because transformers looks at data to make one.
    mask = torch.zeros((1, 1, PROBE_TOKENS, PROBE_TOKENS), dtype=model.dtype, device="meta")
    inputs = probe_inputs(family, ids)
    inputs |= {"attention_mask": mask} | ({"decoder_attention_mask": mask} if "decoder_input_ids" in inputs else {})
    with saved_tensors_hooks(keep, lambda tensor: tensor), _fused_attention():
        logits = logits_of(model(**inputs))
    del logits
    return sum(tensor.numel() * tensor.element_size() for tensor in kept.values())


class _Attention(torch.autograd.Function):
    """Stands for a fused kernel: it keeps query, key, value and output."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = query.new_empty((*query.shape[:-1], value.shape[-1]))
        ctx.save_for_backward(query, key, value, output)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError


@contextmanager
def _fused_attention() -> Iterator[None]:
    """Have attention computed as on a GPU: the meta device would keep its matrix of all pairs of tokens."""

    def attend(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
        output: Tensor = _Attention.apply(query, key, value)
        return output

    with mock.patch.object(functional, "scaled_dot_product_attention", attend):
        yield
