from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from finetune.api.errors import InputError
from finetune.api.sections import LoraMethod, Method, Regularization
from tests.trainer.fixtures.causal import random_prompts, tiny_model
from tests.trainer.fixtures.encoders import tiny_encoder
from tests.trainer.fixtures.seq2seq import KINDS, tiny_seq2seq, warm_start
from tests.trainer.fixtures.tinymodels import PACKABLE, UNPACKABLE, tiny
from trainer.model.dropout import add_block_dropout
from trainer.model.lora import apply_method
from trainer.objectives.family import CAUSAL_LM

INPUT = torch.tensor(random_prompts([12]))
SMALL = {
    "vocab_size": 320,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}
FEED_FORWARD_SIZE = {"intermediate_size": 64, "max_position_embeddings": 64}
HEADS = {"num_key_value_heads": 2, "head_dim": 8}
NO_OWN_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "layerdrop": 0.0}
IN_LAYER = NO_OWN_DROPOUT | {"max_position_embeddings": 64}
DELTA_NET = {"linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}
ARCHITECTURES = {
    "llama": FEED_FORWARD_SIZE | HEADS,
    "mistral": FEED_FORWARD_SIZE | HEADS,
    "qwen2": FEED_FORWARD_SIZE | {"num_key_value_heads": 2},
    "gemma": FEED_FORWARD_SIZE | HEADS,
    "phi": FEED_FORWARD_SIZE,
    "gpt_neox": FEED_FORWARD_SIZE,
    "gpt2": {"n_positions": 64, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "opt": IN_LAYER | {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "xglm": NO_OWN_DROPOUT | {"d_model": 32, "ffn_dim": 64, "attention_heads": 4, "init_std": 0.3},
    "biogpt": IN_LAYER | {"intermediate_size": 64, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "qwen3_next": FEED_FORWARD_SIZE | HEADS | DELTA_NET | EXPERTS | {"num_hidden_layers": 4},
}


def architecture(name: str, **changes: int) -> nn.Module:
    torch.manual_seed(5)
    config = AutoConfig.for_model(name, **(SMALL | ARCHITECTURES.get(name, {}) | changes))
    return AutoModelForCausalLM.from_config(config).float().eval()


def without_layers(name: str, model: nn.Module) -> nn.Module:
    """Return the same model with nothing between its embedding and its last norm."""
    reduced = architecture(name, num_hidden_layers=0)
    reduced.load_state_dict({key: value for key, value in model.state_dict().items() if key in reduced.state_dict()})
    return reduced


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


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_whatever_the_architecture_no_block_escapes_it_and_the_residual_does(name: str) -> None:
    model = architecture(name)
    expected = without_layers(name, model)(INPUT).logits
    assert not torch.allclose(model(INPUT).logits, expected), "the blocks must count for something"

    add_block_dropout(model, 1.0)

    torch.testing.assert_close(model.train()(INPUT).logits, expected)


@pytest.mark.parametrize("name", ["opt", "llama"])
def test_what_an_adapter_adds_to_a_block_is_dropped_too(name: str) -> None:
    model = architecture(name)
    expected = without_layers(name, model)(INPUT).logits
    adapted = apply_method(model, Method(lora=LoraMethod(rank=2)), Regularization(dropout=0.999999), seed=1, family=CAUSAL_LM)
    for key, parameter in adapted.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(parameter)

    # At this probability every output is dropped.
    torch.testing.assert_close(adapted(INPUT).logits, expected)


@pytest.mark.parametrize(
    ("name", "missing", "sizes"),
    [
        ("bloom", "attention", {"n_layer": 2, "n_head": 4}),  # its blocks return the residual along with their output
        ("mpt", "feed-forward", {"d_model": 32, "n_heads": 4, "n_layers": 2}),
    ],
)
def test_an_architecture_that_it_would_reach_by_half_or_not_at_all_is_refused(name: str, missing: str, sizes: dict[str, int]) -> None:
    with pytest.raises(InputError, match=rf"regularization\.dropout: cannot act on .*: no {missing} block was found in \w+; set it to 0"):
        add_block_dropout(architecture(name, **sizes), 0.1)


def test_a_model_without_such_blocks_is_refused_rather_than_trained_without_dropout() -> None:
    with pytest.raises(InputError) as refused:
        add_block_dropout(nn.Sequential(nn.Linear(2, 2)), 0.1)

    assert refused.value.field == "regularization.dropout"


WITHIN_THE_SUM = ("bert", "roberta", "roberta-prelayernorm", "xlm-roberta", "electra", "camembert", "deberta-v2", "longformer")


@pytest.mark.parametrize("model_type", WITHIN_THE_SUM)
def test_in_an_encoder_that_adds_the_residual_in_its_blocks_they_are_dropped_and_the_residual_is_not(model_type: str) -> None:
    def made() -> Any:
        return tiny_encoder("AutoModelForSequenceClassification", model_type, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)

    plain, silent, dropped = made(), made(), made().train()
    for name, parameter in silent.named_parameters():
        if name.split("layer.")[-1].endswith(("output.dense.weight", "output.dense.bias")):
            torch.nn.init.zeros_(parameter)  # what its blocks add
    ids = INPUT[:, :8] % 256 + 5
    assert not torch.allclose(plain(ids).logits, silent(ids).logits), "the blocks must count for something"

    assert add_block_dropout(dropped, 1.0) == 2 * 2

    torch.testing.assert_close(dropped(ids).logits, silent(ids).logits)


@pytest.mark.parametrize("model_type", ["albert", "distilbert", "mobilebert", "mpnet"])
def test_an_encoder_whose_blocks_it_cannot_tell_from_the_residual_is_refused(model_type: str) -> None:
    with pytest.raises(InputError, match=r"^regularization\.dropout: cannot act on \w+: no (attention|feed-forward) block was found"):
        add_block_dropout(tiny_encoder("AutoModelForSequenceClassification", model_type), 0.1)


ACTS = [*PACKABLE, *(name for name in UNPACKABLE if name != "bloom")]


@pytest.mark.parametrize("model_type", [*PACKABLE, *UNPACKABLE])
def test_whatever_causal_model_is_known_it_acts_in_both_kinds_of_blocks_or_is_refused(model_type: str) -> None:
    model = tiny(model_type)
    if model_type not in ACTS:
        with pytest.raises(InputError, match=r"^regularization\.dropout: cannot act on BloomForCausalLM: no attention block was found"):
            add_block_dropout(model, 0.5)
        return
    before = model(INPUT % 61).logits

    kinds = 1 if model_type == "mamba" else 2
    assert add_block_dropout(model, 0.5) >= kinds * model.config.num_hidden_layers
    assert torch.equal(model(INPUT % 61).logits, before)
    assert not torch.allclose(model.train()(INPUT % 61).logits, before)


@pytest.mark.parametrize("model_type", KINDS)
def test_encoder_and_decoder_of_an_encoder_decoder_have_it(model_type: str) -> None:
    assert add_block_dropout(tiny_seq2seq(model_type, 61), 0.5) == 2 * 2 + 2 * 3  # attention and feed-forward; and cross-attention


def test_a_model_that_was_joined_of_two_has_it_in_both() -> None:
    assert add_block_dropout(warm_start(61), 0.5) == 2 + 3  # of one layer each; the decoder has cross-attention
