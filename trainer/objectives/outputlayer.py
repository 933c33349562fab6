"""The loss from the hidden states in front of the output layer, a few positions at a time: the logits of a batch never exist whole.

For a vocabulary of 152,000 the logits of 500 positions are 300 MB in float32, and cross-entropy with its gradient holds several such
tensors. Here a chunk's gradient is computed with its loss, so that only the gradients of hidden states are kept.
torch's own chunked `linear_cross_entropy` gives the smoothed loss alone, not the likelihood beside it.
Test: tests/trainer/objectives/test_outputlayer.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from trainer.objectives.penalties import Penalties

CHUNK_BYTES = {"cpu": 2**24, "cuda": 2**29}
"""Size of the float32 logits of a chunk; a GPU needs more of them to be busy."""
MIN_POSITIONS = 64
"""With fewer, reading the weights takes longer than multiplying by them."""
PROBE = [[1, 2]]
"""Token ids that every vocabulary has."""


def plain_output_layer(model: Any) -> nn.Linear | None:
    """Return the layer whose outputs are the model's logits, or None where it must compute them itself.

    That is so for layers with adapters, hooks (such as ZeRO stage 3's, where weights are shards) or a class of their own, and for
    models that change what the layer gives, such as by a cap; found by comparing both on two tokens.
    """
    layer = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if type(layer) is not nn.Linear or layer._forward_hooks or layer._forward_pre_hooks or layer.weight.is_meta:
        return None
    training = model.training
    model.eval()
    inputs: dict[str, Any] = {"input_ids": torch.tensor(PROBE, device=layer.weight.device), "use_cache": False}
    try:
        with torch.no_grad():
            expected = model(**inputs).logits
            with without_output_layer(layer):
                hidden = model(**inputs).logits
            plain = hidden.shape[-1] == layer.in_features and torch.allclose(
                layer(hidden).to(expected.dtype), expected, rtol=1e-5, atol=1e-5
            )
    finally:
        model.train(training)
    return layer if plain else None


@contextmanager
def without_output_layer(layer: nn.Linear) -> Iterator[None]:
    """Have `layer` return its input, in the type in which it would have computed: a model's logits are then its hidden states."""
    layer.forward = _given  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        del layer.forward


def _given(hidden: Tensor) -> Tensor:
    kind = hidden.device.type
    return hidden.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else hidden


def loss_of_hidden(
    hidden: Tensor, layer: nn.Linear, targets: Tensor, penalties: Penalties, base: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy with penalties, with a graph, and the negative log-likelihood; sums in nats.

    `hidden` (positions, width) are the layer's inputs that predict `targets` (positions). `base` are those of
    the base model, whose output layer is the same. The formula is that of `loss_sums`.
    The objective can be differentiated once, and gives the layer's own weights no gradient.
    """
    objective, nll = ChunkedLoss.apply(hidden, layer.weight, layer.bias, targets, penalties, base)
    return objective, nll


def nll_of_hidden(hidden: Tensor, layer: nn.Linear, targets: Tensor) -> Tensor:
    """Return the negative log-likelihood of each target, in nats, without a graph: (positions,), float64; arguments as above."""
    weight, bias = layer.weight.to(hidden.dtype), None if layer.bias is None else layer.bias.to(hidden.dtype)
    found = torch.zeros(len(hidden), dtype=torch.float64, device=hidden.device)
    for chunk in _chunks(hidden, weight):
        scores = functional.linear(hidden[chunk], weight, bias).float()
        found[chunk] = functional.cross_entropy(scores, targets[chunk], reduction="none").double()
    return found


def _chunks(hidden: Tensor, weight: Tensor) -> Iterator[slice]:
    """Yield the positions that are computed at once."""
    size = max(MIN_POSITIONS, CHUNK_BYTES.get(hidden.device.type, CHUNK_BYTES["cpu"]) // (4 * weight.shape[0]))
    return (slice(start, start + size) for start in range(0, len(hidden), size))


def is_frozen(layer: nn.Linear) -> bool:
    """Return whether the layer's weights are not trained.

    Trained ones need all logits' gradients in one tensor of their size, where nothing is saved; and under DeepSpeed's stage 1 in
    bfloat16 a gradient that arrives before that of the model's output is lost.
    """
    return not any(parameter.requires_grad for parameter in layer.parameters())


class ChunkedLoss(torch.autograd.Function):
    """Objective and likelihood of `loss_of_hidden`."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, penalties: Penalties, base: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the objective in float32 and the likelihood in float64; keeps the gradient of hidden, if it is needed."""
        weight, bias = weight.to(hidden.dtype), None if bias is None else bias.to(hidden.dtype)
        kept = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        vocabulary, smoothing, pull = weight.shape[0], penalties.label_smoothing, penalties.base_kl_weight
        nll = torch.zeros((), dtype=torch.float64, device=hidden.device)
        uniform, divergence = torch.zeros_like(nll), torch.zeros_like(nll)
        for chunk in _chunks(hidden, weight):
            scores = functional.linear(hidden[chunk], weight, bias).float()
            log_probabilities = functional.log_softmax(scores, dim=-1)
            del scores
            wanted = targets[chunk].unsqueeze(-1)
            nll -= log_probabilities.gather(-1, wanted).sum()
            if smoothing:
                uniform -= log_probabilities.mean(dim=-1).sum()
            likely = None
            if base is not None:
                own = functional.log_softmax(functional.linear(base[chunk], weight, bias).float(), dim=-1)
                likely = own.exp()
                divergence += own.sub_(log_probabilities).mul_(likely).sum()
                del own
            if kept is not None:
                # The gradient for the scores: softmax minus the target distribution, and minus the base model's, pulled towards that.
                gradient = log_probabilities.exp_()
                if likely is not None:
                    gradient.mul_(1 + pull).sub_(likely, alpha=pull)
                if smoothing:
                    gradient -= smoothing / vocabulary
                gradient.scatter_add_(-1, wanted, torch.full_like(wanted, smoothing - 1, dtype=gradient.dtype))
                torch.mm(gradient.to(hidden.dtype), weight, out=kept[chunk])
        ctx.kept = kept
        ctx.mark_non_differentiable(nll)
        return ((1 - smoothing) * nll + smoothing * uniform + pull * divergence).float(), nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _nll: Tensor) -> tuple[Tensor | None, ...]:
        """Scale what forward kept."""
        return ctx.kept * gradient, None, None, None, None, None
