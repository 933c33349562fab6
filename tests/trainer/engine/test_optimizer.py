"""What AdamW computes and what it decays; that an engine resumes from a state, also one of another optimizer."""

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from tests.trainer.fixtures.encoders import tiny_encoder
from tests.trainer.fixtures.optimizers import Momentum
from tests.trainer.fixtures.seq2seq import KINDS, tiny_seq2seq
from tests.trainer.fixtures.tinymodels import PACKABLE, UNPACKABLE, tiny
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW, Optimizer
from trainer.engine.state import EngineState

LEARNING_RATE, WEIGHT_DECAY = 0.1, 0.5


class Mixed(nn.Module):
    """One parameter of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.linear, self.norm = nn.Embedding(5, 4), nn.Linear(4, 3), nn.LayerNorm(4)


@pytest.mark.parametrize(
    ("name", "decays"),
    [("embedding.weight", True), ("linear.weight", True), ("linear.bias", False), ("norm.weight", False), ("norm.bias", False)],
)
def test_matrices_decay_and_biases_and_norms_do_not(name: str, decays: bool) -> None:
    model = Mixed()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(2.0)
    engine = DdpEngine(model, EngineSettings(AdamW(WEIGHT_DECAY), 0.0, 1, 1), torch.device("cpu"))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    engine.step(LEARNING_RATE)
    expected = 2.0 * (1 - LEARNING_RATE * WEIGHT_DECAY) if decays else 2.0
    assert torch.allclose(dict(model.named_parameters())[name], torch.tensor(expected))


def exempt(model: nn.Module) -> set[str]:
    """Return the names without weight decay, as torch's optimizer has them in its groups."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = AdamW(WEIGHT_DECAY).build(model).param_groups
    return {names[id(parameter)] for group in groups if group["weight_decay"] == 0 for parameter in group["params"]}


def other(model_type: str) -> nn.Module:
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, vocab_size=61, d_model=32, n_layer=1, n_head=4, d_inner=48))


def cohere() -> nn.Module:
    """Return a model whose norms of queries and keys have weights for each head: two dimensions."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("cohere", vocab_size=61, pad_token_id=0, use_qk_norm=True, **sizes))


FAMILIES = {
    **{name: lambda name=name: tiny(name) for name in (*PACKABLE, *UNPACKABLE)},
    **{name: lambda name=name: tiny_seq2seq(name, 61) for name in KINDS},
    **{
        name: lambda name=name: tiny_encoder("AutoModelForSequenceClassification", name)
        for name in ("bert", "roberta", "deberta-v2", "electra", "modernbert", "distilbert", "albert", "mpnet", "longformer")
    },
    "xlnet": lambda: other("xlnet"),
    "cohere": cohere,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_in_every_family_norms_and_biases_are_exempt_and_matrices_are_not(family: str) -> None:
    model = FAMILIES[family]()
    classes, found = {name: type(module).__name__ for name, module in model.named_modules()}, exempt(model)
    for name, _ in model.named_parameters():
        owner, leaf = classes[name.rpartition(".")[0]], name.rpartition(".")[2]
        if "Norm" in owner or leaf.endswith("bias"):
            assert name in found
        elif owner in ("Linear", "Embedding", "Conv1D"):
            assert name not in found
    assert found


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("gpt_oss", ["model.layers.0.mlp.experts.gate_up_proj_bias", "model.layers.1.mlp.experts.down_proj_bias"]),
        ("xlnet", ["transformer.layer.0.rel_attn.r_w_bias"]),
        ("mamba", ["backbone.layers.0.mixer.A_log", "backbone.layers.0.mixer.D"]),
        ("gemma3_text", ["model.layers.0.self_attn.q_norm.weight", "model.norm.weight"]),
        ("cohere", ["model.layers.0.self_attn.q_norm.weight", "model.layers.0.self_attn.k_norm.weight"]),
    ],
)
def test_what_only_has_the_shape_of_a_matrix_is_exempt(family: str, names: list[str]) -> None:
    assert set(names) <= exempt(FAMILIES[family]())


def test_the_fused_update_is_the_published_one_also_after_a_resume() -> None:
    """Algorithm 2 of Loshchilov and Hutter (arXiv:1711.05101) in float64, over gradients of very different size."""
    generator = torch.Generator().manual_seed(3)
    gradients = [10.0**exponent * torch.randn(6, 7, generator=generator) for exponent in (0, -3, -6, 1, -9)]
    start = torch.randn(6, 7, generator=generator)
    weight, mean, square = start.double(), torch.zeros(6, 7).double(), torch.zeros(6, 7).double()
    for number, gradient in enumerate(gradients, start=1):
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient.double() ** 2
        direction = (mean / (1 - 0.9**number)) / ((square / (1 - 0.999**number)).sqrt() + 1e-8)
        weight = weight - LEARNING_RATE * (direction + WEIGHT_DECAY * weight)

    engine = engine_of(start)
    for number, gradient in enumerate(gradients):
        if number == 3:
            state, engine = engine.state(), engine_of(torch.zeros(6, 7))
            engine.load_state(state, steps_done=3)
        engine.model.get_parameter("weight").grad = gradient.clone()
        engine.step(LEARNING_RATE)

    torch.testing.assert_close(engine.model.get_parameter("weight").double(), weight, rtol=1e-6, atol=1e-6)


def engine_of(weight: torch.Tensor) -> DdpEngine:
    model = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    with torch.no_grad():
        model.weight.copy_(weight)
    return DdpEngine(model, EngineSettings(AdamW(WEIGHT_DECAY), 0.0, 1, 1), torch.device("cpu"))


def engine_with(optimizer: Optimizer) -> DdpEngine:
    torch.manual_seed(1)
    return DdpEngine(Mixed(), EngineSettings(optimizer, 0.0, 1, 1), torch.device("cpu"))


def step(engine: DdpEngine, gradient: float) -> None:
    for _, parameter in engine.trainable():
        parameter.grad = torch.full_like(parameter, gradient)
    engine.step(LEARNING_RATE)


@pytest.mark.parametrize("optimizer", [AdamW(WEIGHT_DECAY), Momentum()], ids=["AdamW", "momentum"])
def test_an_engine_goes_on_from_the_slots_that_another_one_left(optimizer: Optimizer) -> None:
    unbroken, resumed = engine_with(optimizer), engine_with(optimizer)
    step(unbroken, 0.3)
    saved = unbroken.state()
    resumed.load_state(saved, steps_done=1)
    for engine in (unbroken, resumed):
        step(engine, -0.2)
    expected, found = unbroken.state(), resumed.state()
    assert set(saved.slots) == set(optimizer.slots)
    assert all(torch.equal(found.parameters[name], value) for name, value in expected.parameters.items())


def test_the_state_of_another_optimizer_is_refused() -> None:
    left = engine_with(Momentum()).state()
    with pytest.raises(KeyError, match=r"momentum_buffer.*exp_avg"):
        engine_with(AdamW(WEIGHT_DECAY)).load_state(left, steps_done=0)


def test_parameters_alone_are_taken_from_a_state_without_reading_its_slots() -> None:
    trained, engine = engine_with(AdamW(WEIGHT_DECAY)), engine_with(AdamW(WEIGHT_DECAY))
    step(trained, 0.3)
    saved = trained.state()
    engine.load_parameters(EngineState(saved.parameters))
    assert {name: value.tolist() for name, value in engine.parameters().items()} == {
        name: value.tolist() for name, value in saved.parameters.items()
    }
    with pytest.raises(KeyError, match=r"missing .*norm\.weight"):
        engine.load_parameters(EngineState({name: value for name, value in saved.parameters.items() if name != "norm.weight"}))


def layer_depths(model: nn.Module) -> dict[str, int]:
    return {name: {"embedding": 2, "linear": 1, "norm": 0}[name.split(".")[0]] for name, _ in model.named_parameters()}


def test_each_depth_learns_at_its_own_rate_and_keeps_its_weight_decay() -> None:
    engine = engine_with(AdamW(WEIGHT_DECAY, 0.5, layer_depths))
    before = {name: parameter.detach().clone() for name, parameter in engine.trainable()}
    step(engine, 0.3)
    for name, parameter in engine.trainable():
        rate = LEARNING_RATE * 0.5 ** layer_depths(engine.model)[name]
        decayed = before[name] * (1 - rate * (WEIGHT_DECAY if parameter.ndim >= 2 else 0.0))
        # Adam's first step is the rate in the direction of the gradient's sign.
        torch.testing.assert_close(parameter.detach(), decayed - rate, rtol=1e-5, atol=1e-6)


def test_a_decay_of_one_is_the_same_bit_for_bit_as_none() -> None:
    plain, by_layer = engine_with(AdamW(WEIGHT_DECAY)), engine_with(AdamW(WEIGHT_DECAY, 1.0, layer_depths))
    for gradient in (0.3, -0.1, 0.7):
        step(plain, gradient)
        step(by_layer, gradient)
    expected, found = plain.state(), by_layer.state()
    for group, values in expected.groups().items():
        assert all(torch.equal(found.groups()[group][name], value) for name, value in values.items())


def test_a_state_of_one_rate_is_gone_on_with_at_rates_by_layer_and_back() -> None:
    plain, by_layer = engine_with(AdamW(WEIGHT_DECAY)), engine_with(AdamW(WEIGHT_DECAY, 0.5, layer_depths))
    step(plain, 0.3)
    by_layer.load_state(plain.state(), steps_done=1)
    assert by_layer.state().names().keys() == plain.state().names().keys()
    step(by_layer, 0.1)
    plain.load_state(by_layer.state(), steps_done=2)
