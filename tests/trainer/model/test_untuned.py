"""The base model while its adapter is trained: its own answers, without dropout, and nothing is left of it afterwards."""

from typing import Any

import pytest
import torch

from finetune.api.sections import LoraMethod, Method, Regularization
from tests.trainer.fixtures.causal import located_folder, random_prompts, tiny_model
from tests.trainer.fixtures.encoders import save_encoder
from trainer.model.load import load_model
from trainer.model.lora import apply_method
from trainer.model.loralinear import fuse_adapters
from trainer.model.untuned import as_base
from trainer.objectives.classification import ClassificationObjective
from trainer.objectives.family import CAUSAL_LM

INPUT = torch.tensor(random_prompts([12]))
LORA = Method(lora=LoraMethod(rank=2, dropout=0.3))
RANDOM = Regularization(dropout=0.3, neftuneNoiseAlpha=5)


def tuned() -> Any:
    model: Any = apply_method(tiny_model(), LORA, RANDOM, seed=1, family=CAUSAL_LM)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    fuse_adapters(model)
    return model


def test_it_answers_as_the_model_that_was_loaded() -> None:
    model, loaded = tuned(), tiny_model().eval()

    with as_base(model):
        found = model(INPUT).logits

    assert torch.equal(found, loaded(INPUT).logits)
    assert not found.requires_grad
    assert not torch.allclose(model.eval()(INPUT).logits, found)


def test_afterwards_the_tuned_model_trains_on_and_draws_what_it_would_have_drawn() -> None:
    model, trained = tuned(), [name for name, parameter in tuned().named_parameters() if parameter.requires_grad]
    torch.manual_seed(4)
    expected = model(INPUT).logits

    torch.manual_seed(4)
    with as_base(model):
        model(INPUT)
    found = model(INPUT).logits

    assert torch.equal(found, expected)
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == trained
    assert all(module.training for module in model.modules())


def test_a_head_that_is_trained_whole_is_that_of_the_base(tmp_path: Any) -> None:
    family = ClassificationObjective(("a", "b", "c")).family
    folder = save_encoder(tmp_path / "model", family.auto_class, **family.settings)
    loaded = load_model(located_folder(folder), torch.float32, family).eval()
    model: Any = apply_method(
        load_model(located_folder(folder), torch.float32, family), LORA, Regularization(neftuneNoiseAlpha=5), seed=1, family=family
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)

    with as_base(model):
        found = model(INPUT % 60).logits

    assert torch.equal(found, loaded(INPUT % 60).logits)


def test_an_error_inside_leaves_the_adapter_on() -> None:
    model = tuned()
    with pytest.raises(ZeroDivisionError), as_base(model):
        _ = 1 / 0

    assert model.training
    assert not torch.allclose(model.eval()(INPUT).logits, tiny_model().eval()(INPUT).logits)
