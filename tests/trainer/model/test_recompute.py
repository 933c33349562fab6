"""Gradient checkpointing saves memory and changes no number."""

import torch

from tests.trainer.engine.program import new_model
from trainer.model.recompute import recompute_activations


def loss_and_gradients(*, recomputed: bool) -> tuple[float, dict[str, torch.Tensor], int]:
    """Return the loss, the gradients, and how many tensors were kept for backward."""
    model = new_model().train()
    if recomputed:
        model = recompute_activations(model)
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(torch.arange(1, 25).unsqueeze(0), use_cache=False).logits.float().log_softmax(-1)[0, :-1, 5].sum()
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return float(loss.detach()), gradients, sum(kept)


def test_recomputing_keeps_less_and_gives_the_same_loss_and_gradients() -> None:
    loss, gradients, kept = loss_and_gradients(recomputed=False)
    again, same_gradients, kept_less = loss_and_gradients(recomputed=True)
    assert again == loss
    assert gradients.keys() == same_gradients.keys()
    assert all(torch.equal(gradients[name], same_gradients[name]) for name in gradients)
    assert kept_less < kept / 2
