"""Gradient checkpointing saves memory and changes no number."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.builders import train_config
from tests.trainer.engine.program import new_model
from tests.trainer.fixtures.causal import located_folder
from trainer.model.recompute import recompute_activations
from trainer.objectives.family import CAUSAL_LM
from trainer.rank.loading import trainable_model


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


METHODS = {
    "adapters": {"lora": {"rank": 4, "dropout": 0.0}},
    "adapters above": {"lora": {"rank": 4, "targetModules": ["layers.1.self_attn.q_proj"]}},
    "frozen layer": {"full": {"freeze": {"embeddings": True, "layers": 1}}},
    "directions": {"osf": {}},
}


def trained(folder: Path, method: dict[str, Any], words: str) -> tuple[Any, dict[int, int]]:
    """Return the model of a job after one backward pass, and how often backward reached each of its layers."""
    config = train_config(method=method, training={"epochs": 1, "gradientCheckpointing": words})
    model, _ = trainable_model(config, CAUSAL_LM, located_folder(folder), torch.float32, torch.device("cpu"))
    reached = {0: 0, 1: 0}
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    for index, layer in enumerate(base.model.layers):
        assert layer.gradient_checkpointing is (words == "always")
        layer.register_full_backward_pre_hook(lambda *_, index=index: reached.update({index: reached[index] + 1}))
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape))
    ids = torch.arange(1, 25).unsqueeze(0)
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    return model, reached


@pytest.mark.parametrize("method", METHODS)
def test_a_job_that_recomputes_has_the_same_gradients_and_no_backward_through_what_lies_below_them(saved_model: Path, method: str) -> None:
    (plain, reached), (again, reached_again) = (trained(saved_model, METHODS[method], words) for words in ("never", "always"))
    expected = {name: one.grad for name, one in plain.named_parameters() if one.requires_grad}
    assert all(gradient is not None and gradient.norm() > 0 for gradient in expected.values())
    for name, parameter in again.named_parameters():
        assert (parameter.grad is not None) == (name in expected)
        if name in expected:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-5, atol=1e-7)
    assert reached_again == reached == {0: 0 if method in ("adapters above", "frozen layer") else 1, 1: 1}
    embedded: list[bool] = []
    again.get_input_embeddings().register_forward_hook(lambda _module, _inputs, output: embedded.append(output.requires_grad))
    again(input_ids=torch.arange(1, 25).unsqueeze(0), use_cache=False)
    assert embedded == [False], "the gradient of embeddings that are not trained is of no use"
