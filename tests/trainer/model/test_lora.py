from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from finetune.api.errors import InputError
from finetune.api.sections import FullMethod, LoraMethod, Method, Regularization
from tests.trainer.fixtures.causal import random_prompts, tiny_gpt2, tiny_model
from trainer.model.lora import apply_method
from trainer.objectives.family import CAUSAL_LM

INPUT = torch.tensor(random_prompts([12]))
LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def lora(**options: object) -> Method:
    return Method(lora=LoraMethod.model_validate({"rank": 4, "alpha": 8} | options))


def trained_names(model: torch.nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def test_by_default_every_linear_layer_but_the_output_layer_gets_an_adapter() -> None:
    model = apply_method(tiny_model(tied=False), lora(), Regularization(), seed=1, family=CAUSAL_LM)

    names = trained_names(model)

    assert {part for name in names for part in name.split(".") if part in LINEAR | {"lm_head"}} == LINEAR
    assert all("lora_" in name for name in names)
    assert len(names) == 2 * len(LINEAR) * 2


def test_an_untrained_adapter_changes_nothing() -> None:
    model = apply_method(tiny_model(), lora(), Regularization(), seed=1, family=CAUSAL_LM)

    torch.testing.assert_close(model.eval()(INPUT).logits, tiny_model()(INPUT).logits, rtol=0, atol=0)


def test_an_adapter_adds_its_product_times_alpha_over_rank() -> None:
    model = apply_method(tiny_model(), lora(targetModules=["q_proj"]), Regularization(), seed=1, family=CAUSAL_LM).eval()
    layer = model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    with torch.no_grad():
        up.normal_(generator=torch.Generator().manual_seed(2))
        hidden = torch.randn(5, 32, generator=torch.Generator().manual_seed(3))

        expected = hidden @ layer.base_layer.weight.T + (8 / 4) * (hidden @ down.T @ up.T)

        torch.testing.assert_close(layer(hidden), expected)


def test_ranks_with_the_same_seed_start_from_the_same_adapter_and_leave_the_generator_alone() -> None:
    torch.manual_seed(123)
    state = torch.random.get_rng_state()
    models = []
    for seed in (7, 7, 8):
        base = tiny_model()
        torch.random.set_rng_state(state)
        models.append(apply_method(base, lora(), Regularization(), seed, family=CAUSAL_LM))
        assert torch.equal(torch.random.get_rng_state(), state)
    first, again, other = (dict(model.named_parameters()) for model in models)

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_full_trains_every_weight() -> None:
    model = apply_method(tiny_model(), Method(full=FullMethod()), Regularization(), seed=1, family=CAUSAL_LM)

    assert trained_names(model) == [name for name, _ in tiny_model().named_parameters()]
    assert model.training


@pytest.mark.parametrize(
    ("make", "targets", "field", "fix"),
    [
        pytest.param(tiny_model, ["q_proj", "v_projj"], "method.lora.targetModules[1]", "did you mean v_proj?", id="one of two"),
        pytest.param(
            tiny_model, ["self_attn.q_proj", "mlp.q_proj"], "method.lora.targetModules[1]", "did you mean q_proj?", id="in the wrong part"
        ),
        pytest.param(tiny_model, ["q_pro"], "method.lora.targetModules[0]", "did you mean q_proj?", id="part of a name"),
        pytest.param(
            lambda: tiny_model(tied=False),
            ["query", "value"],
            "method.lora.targetModules[0]",
            "it has down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj",
            id="none, and the output layer is not offered",
        ),
        pytest.param(tiny_gpt2, ["query"], "method.lora.targetModules[0]", "it has c_attn, c_fc, c_proj", id="none in a model of Conv1D"),
    ],
)
def test_a_target_module_that_the_model_does_not_have_is_refused_by_name(make: Any, targets: list[str], field: str, fix: str) -> None:
    with pytest.raises(InputError) as refused:
        apply_method(make(), lora(targetModules=targets), Regularization(), seed=1, family=CAUSAL_LM)

    assert refused.value.field == field
    assert targets[int(field[-2])] in refused.value.problem
    assert refused.value.fix.startswith(fix)
    assert "lm_head" not in str(refused.value)


def test_a_target_module_of_a_kind_that_takes_no_adapter_is_refused() -> None:
    with pytest.raises(InputError, match=r"method\.lora\.targetModules: cannot have adapters: .*; it has down_proj"):
        apply_method(tiny_model(), lora(targetModules=["q_proj", "mlp"]), Regularization(), seed=1, family=CAUSAL_LM)


@pytest.mark.parametrize(
    ("make", "targets", "index", "words"),
    [
        pytest.param(tiny_model, ["q_proj", "lm_head"], 1, "lm_head shares its weights with model.embed_tokens", id="output layer"),
        pytest.param(tiny_model, ["embed_tokens"], 0, "model.embed_tokens shares its weights with lm_head", id="embedding"),
        pytest.param(tiny_model, ["model.embed_tokens"], 0, "model.embed_tokens shares", id="by its whole path"),
        pytest.param(tiny_gpt2, ["c_attn", "wte"], 1, "transformer.wte shares its weights with lm_head", id="GPT-2"),
    ],
)
def test_an_adapter_on_weights_that_two_modules_share_is_refused(make: Any, targets: list[str], index: int, words: str) -> None:
    with pytest.raises(InputError) as refused:
        apply_method(make(), lora(targetModules=targets), Regularization(), seed=1, family=CAUSAL_LM)

    assert refused.value.field == f"method.lora.targetModules[{index}]"
    assert refused.value.problem.startswith(words)
    assert "tie_word_embeddings false" in refused.value.fix


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
@pytest.mark.filterwarnings("ignore")  # peft's own words on the same matter
def test_plain_peft_merges_an_adapter_on_shared_weights_into_another_model(target: str) -> None:
    model = get_peft_model(tiny_model(), LoraConfig(r=4, target_modules=[target], init_lora_weights=False)).eval()
    with_adapter = model(INPUT).logits

    merged = model.merge_and_unload()(INPUT).logits

    assert not torch.allclose(merged, with_adapter, atol=0.1), "adapters on shared weights need no refusal any more"


def test_layers_that_share_nothing_take_adapters_as_output_layer_and_embedding() -> None:
    model = apply_method(
        tiny_model(tied=False), lora(targetModules=["lm_head", "embed_tokens"]), Regularization(), seed=1, family=CAUSAL_LM
    )

    assert {name.partition(".lora_")[0].rpartition(".")[2] for name in trained_names(model)} == {"lm_head", "embed_tokens"}


def test_all_linear_is_named_as_the_default() -> None:
    with pytest.raises(InputError, match=r"targetModules\[0\]: all-linear is no module's name; leave targetModules out"):
        apply_method(tiny_model(), lora(targetModules=["all-linear"]), Regularization(), seed=1, family=CAUSAL_LM)


def test_block_dropout_acts_beneath_an_adapter() -> None:
    model = apply_method(tiny_model(), lora(), Regularization(dropout=0.5), seed=1, family=CAUSAL_LM)

    assert not torch.allclose(model.train()(INPUT).logits, tiny_model()(INPUT).logits)
    torch.testing.assert_close(model.eval()(INPUT).logits, tiny_model()(INPUT).logits)
