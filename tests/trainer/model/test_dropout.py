import pytest
import torch
from torch import nn

from tests.trainer.model.builders import random_prompts, tiny_model
from trainer.config.errors import InputError
from trainer.model.dropout import add_block_dropout

INPUT = torch.tensor(random_prompts([12]))


def test_it_acts_in_training_and_not_in_evaluation() -> None:
    plain, dropped = tiny_model(), tiny_model()
    add_block_dropout(dropped, 0.5)

    assert torch.equal(dropped.eval()(INPUT).logits, plain(INPUT).logits)
    assert not torch.allclose(dropped.train()(INPUT).logits, plain(INPUT).logits)


def test_every_attention_and_feed_forward_block_has_it() -> None:
    assert add_block_dropout(tiny_model(layers=3), 0.1) == 6


def test_the_same_seed_drops_the_same_and_another_seed_does_not() -> None:
    model = tiny_model()
    add_block_dropout(model, 0.3)
    model.train()

    def logits(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return model(INPUT).logits

    assert torch.equal(logits(1), logits(1))
    assert not torch.equal(logits(1), logits(2))


def test_a_block_keeps_its_share_of_outputs_and_their_mean() -> None:
    model = tiny_model()
    block = model.model.layers[0].mlp
    add_block_dropout(model, 0.25)
    hidden = torch.randn(64, 16, 32, generator=torch.Generator().manual_seed(1))

    whole, dropped = block.eval()(hidden), block.train()(hidden)

    kept = dropped != 0
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.02)
    torch.testing.assert_close(dropped[kept], whole[kept] / 0.75)


def test_probability_zero_adds_nothing() -> None:
    model = tiny_model()

    assert add_block_dropout(model, 0.0) == 0
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_without_such_blocks_is_refused_rather_than_trained_without_dropout() -> None:
    with pytest.raises(InputError) as refused:
        add_block_dropout(nn.Sequential(nn.Linear(2, 2)), 0.1)

    assert refused.value.field == "regularization.dropout"
