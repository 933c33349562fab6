"""A linear layer with its low-rank adapter as one autograd function, under PEFT's classes and names.

PEFT computes `W x + b + B(A(drop(x))) * s` operation by operation: it keeps the dropped input and the noise of every layer for the
backward pass (four bytes each), and goes over the layer's output three times. Here the input is kept once, with one byte of mask where
there is dropout, and what the adapter adds is added by the matrix product itself. Same results up to rounding.

Layers stay PEFT's modules, so parameter names, merging, switching the adapter off and export are PEFT's. Whatever is not the plain
case is computed by PEFT's own forward. Test: tests/trainer/model/test_loralinear.py.
"""

from typing import Any

import torch
from peft.tuners.lora import Linear as PeftLinear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


def fuse_adapters(model: nn.Module) -> int:
    """Have every linear layer with an adapter compute both in one function; return the number of layers.

    Only layers whose class is exactly PEFT's Linear: other kinds, such as those of quantized weights, are left as they are.
    """
    layers = [module for module in model.modules() if type(module) is PeftLinear]
    for layer in layers:
        layer.__class__ = LoraLinear
    return len(layers)


class LoraLinear(PeftLinear):  # type: ignore[misc]
    """PEFT's linear layer with another forward. Made by `fuse_adapters` from an existing layer, never constructed."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return what PEFT's forward returns, up to rounding."""
        adapter = None if args or kwargs else self._plain_adapter()
        if adapter is None:
            unfused: Tensor = super().forward(x, *args, **kwargs)
            return unfused
        dropout = self.lora_dropout[adapter]
        probability = dropout.p if dropout.training and isinstance(dropout, nn.Dropout) else 0.0
        down, up = self.lora_A[adapter].weight, self.lora_B[adapter].weight
        output: Tensor = LoraProduct.apply(x, self.base_layer.weight, self.base_layer.bias, down, up, self.scaling[adapter], probability)
        return output

    def _plain_adapter(self) -> str | None:
        """Return the name of the only active adapter, or None where this is not the plain case."""
        active = [name for name in self.active_adapters if name in self.lora_A]
        if len(active) != 1 or self.disable_adapters or self.merged or self.lora_variant:
            return None
        name = active[0]
        base, down, up, dropout = self.base_layer, self.lora_A[name], self.lora_B[name], self.lora_dropout[name]
        plain = type(base) is nn.Linear and up.bias is None and type(dropout) in (nn.Dropout, nn.Identity)
        # The function gives frozen weights no gradient. Hooks want a call of the module: DeepSpeed's stage 3 gathers weights in them.
        if not plain or any(parameter.requires_grad for parameter in base.parameters()):
            return None
        return None if any(_has_hooks(module) for module in (base, down, up, dropout)) else name


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_pre_hooks or module._forward_hooks or module._backward_pre_hooks or module._backward_hooks)


class LoraProduct(torch.autograd.Function):
    """`x W^T + b + s (drop(x) A^T) B^T` for frozen W and b."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float, probability: float
    ) -> Tensor:
        """Return (..., out) for x (..., in), weight (out, in), bias (out) or None, down (rank, in) and up (out, rank).

        Keeps x as it came, so that layers with the same input share it. Types follow autocast where it is on; where it is off the
        adapter is computed in its own type and its product is rounded to the output's.
        """
        rows = x.reshape(-1, x.shape[-1])
        kind, base_dtype, rank_dtype = x.device.type, x.dtype, down.dtype
        if kind != "meta" and torch.is_autocast_enabled(kind):  # shapes alone have no autocast
            base_dtype = rank_dtype = torch.get_autocast_dtype(kind)
        output = functional.linear(rows.to(base_dtype), weight.to(base_dtype), None if bias is None else bias.to(base_dtype))
        rank_rows, mask = _drop(rows.to(rank_dtype), probability)
        ctx.scale, ctx.rank_dtype = scale / (1 - probability), rank_dtype
        hidden = rank_rows.mm(down.to(rank_dtype).t()).mul_(ctx.scale)
        _add_product(output, hidden, up.to(rank_dtype).t())
        ctx.save_for_backward(x, weight, down, up, hidden, mask)
        return output.view(*x.shape[:-1], output.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, down and up, each only where it is needed."""
        x, weight, down, up, hidden, mask = ctx.saved_tensors
        for_x, _, _, for_down, for_up, _, _ = ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        rank_rows = rows.to(ctx.rank_dtype)
        x_gradient = down_gradient = up_gradient = None
        if for_up:
            up_gradient = rank_rows.t().mm(hidden).to(up.dtype)
        hidden_gradient = rank_rows.mm(up.to(ctx.rank_dtype)).mul_(ctx.scale)
        if for_down:
            inputs = _masked(x.reshape(-1, x.shape[-1]).to(ctx.rank_dtype), mask)
            down_gradient = hidden_gradient.t().mm(inputs).to(down.dtype)
        if for_x:
            x_gradient = rows.mm(weight.to(rows.dtype))
            if mask is None:
                _add_product(x_gradient, hidden_gradient, down.to(ctx.rank_dtype))
            else:
                x_gradient.add_(hidden_gradient.mm(down.to(ctx.rank_dtype)).mul_(mask))
            x_gradient = x_gradient.to(x.dtype).view(x.shape)
        return x_gradient, None, None, down_gradient, up_gradient, None, None


def _drop(rows: Tensor, probability: float) -> tuple[Tensor, Tensor | None]:
    """Return the rows with elements set to 0, not yet scaled up, and the mask of those that are kept; a byte per element."""
    mask = None if probability == 0 else keep_mask(rows, probability)
    return _masked(rows, mask), mask


def keep_mask(like: Tensor, probability: float) -> Tensor:
    """Return 1 for an element that is kept and 0 for one that is dropped, as bytes, in the shape of `like`."""
    if like.device.type != "cpu":
        return torch.empty_like(like, dtype=torch.uint8).bernoulli_(1 - probability)
    # Four 16-bit numbers of each 64-bit one: a third of the time of bernoulli_, which costs as much as a layer's matrix product.
    numbers = torch.empty((like.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    kept = numbers[: like.numel()] >= round(probability * 2**16) - 2**15
    return kept.view(torch.uint8).view(like.shape)


def _masked(rows: Tensor, mask: Tensor | None) -> Tensor:
    return rows if mask is None else rows * mask


def _add_product(output: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right to `output` in place; where types differ the product is computed in its own."""
    if output.dtype == left.dtype:
        output.addmm_(left, right)
    else:
        output.add_(left.mm(right))
