"""The loss in chunks against PyTorch's cross-entropy in float64, and which models let an objective compute their logits."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import CohereConfig, CohereForCausalLM, Gemma2Config, Gemma2ForCausalLM

from tests.trainer.allocations import Allocations
from tests.trainer.fixtures.causal import random_prompts, tiny_gpt2, tiny_model
from trainer.data.rows import Sample
from trainer.model.lora import peft_warnings_silenced
from trainer.objectives import outputlayer
from trainer.objectives.base import probed_forward
from trainer.objectives.causal import CAUSAL
from trainer.objectives.family import CAUSAL_LM
from trainer.objectives.loss import loss_sums
from trainer.objectives.outputlayer import loss_of_hidden, plain_output_layer
from trainer.objectives.penalties import Penalties

VOCABULARY, WIDTH, POSITIONS = 50, 12, 21


def problem(dtype: torch.dtype = torch.float32) -> tuple[Tensor, nn.Linear, Tensor]:
    generator = torch.Generator().manual_seed(3)
    layer = nn.Linear(WIDTH, VOCABULARY)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=generator)
    hidden = torch.randn(POSITIONS, WIDTH, generator=generator).to(dtype).requires_grad_()
    return hidden, layer.to(dtype), torch.randint(0, VOCABULARY, (POSITIONS,), generator=generator)


def in_float64(hidden: Tensor, layer: nn.Linear, targets: Tensor, smoothing: float) -> dict[str, Tensor]:
    exact = hidden.detach().double().requires_grad_()
    scores = exact @ layer.weight.detach().double().T + layer.bias.detach().double()
    objective = cross_entropy(scores, targets, reduction="sum", label_smoothing=smoothing)
    objective.backward()
    nll = cross_entropy(scores.detach(), targets, reduction="sum")
    return {"objective": objective.detach(), "nll": nll, "hidden": exact.grad}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=["float32", "bfloat16"])
def test_loss_and_gradients_are_those_of_the_whole_logits(
    monkeypatch: pytest.MonkeyPatch, smoothing: float, dtype: torch.dtype, tolerance: float
) -> None:
    monkeypatch.setattr(outputlayer, "MIN_POSITIONS", 4)
    monkeypatch.setitem(outputlayer.CHUNK_BYTES, "cpu", 1)
    hidden, layer, targets = problem(dtype)

    objective, nll = loss_of_hidden(hidden, layer, targets, Penalties(smoothing))
    (objective / 7).backward()

    expected = in_float64(hidden, layer, targets, smoothing)
    for name, found in {"objective": objective, "nll": nll, "hidden": 7 * hidden.grad}.items():
        value = expected[name]
        torch.testing.assert_close(found.detach().double(), value, rtol=tolerance, atol=tolerance * float(value.abs().max()))


def test_the_logits_of_all_positions_never_exist() -> None:
    layer = nn.Linear(WIDTH, 20_000).requires_grad_(False)
    hidden = torch.randn(40 * outputlayer.MIN_POSITIONS, WIDTH, requires_grad=True)

    with Allocations() as allocations:
        objective, _ = loss_of_hidden(hidden, layer, torch.zeros(len(hidden), dtype=torch.long), Penalties(0.1))
        objective.backward()

    assert allocations.peak < 0.25 * len(hidden) * 20_000 * 4


def test_no_tokens_have_a_zero_loss_that_can_be_differentiated() -> None:
    hidden, layer, targets = problem()

    objective, nll = loss_of_hidden(hidden[:0], layer, targets[:0], Penalties(0.1))
    objective.backward()

    assert (objective.item(), nll.item()) == (0.0, 0.0)
    assert float(hidden.grad.abs().sum()) == 0.0


def samples() -> list[Sample]:
    return [
        Sample(str(index), tuple(ids), tuple(place >= 3 + index for place in range(len(ids))), len(ids), False, tail=0)
        for index, ids in enumerate(random_prompts([12, 7]))
    ]


def adapted() -> Any:
    with peft_warnings_silenced():
        return get_peft_model(tiny_model(), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)).eval()


SIZES: dict[str, Any] = {"vocab_size": 320, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
                         "num_key_value_heads": 2, "pad_token_id": 0}  # fmt: skip


def scaled() -> Any:
    torch.manual_seed(3)
    return CohereForCausalLM(CohereConfig(**SIZES, logit_scale=0.5, bos_token_id=0, eos_token_id=0)).eval()


@pytest.mark.parametrize(
    "make",
    [tiny_model, lambda: tiny_model(tied=False), tiny_gpt2, adapted, scaled],
    ids=["tied", "untied", "GPT-2", "LoRA", "Cohere, which scales its logits"],
)
def test_a_model_with_a_frozen_output_layer_trains_in_chunks_as_on_whole_logits(make: Any) -> None:
    batch = CAUSAL.collate(samples())
    chunked, whole = make(), make()
    for model in (chunked, whole):
        model.get_output_embeddings().requires_grad_(False)
    forward = probed_forward(chunked, lambda **inputs: chunked(**inputs).logits, CAUSAL_LM)
    assert forward.output_layer is chunked.get_output_embeddings()

    found = CAUSAL.loss(forward, batch, Penalties(0.1))
    found.objective.backward()
    expected = loss_sums(whole(**batch.inputs).logits[:, batch.positions], batch.places, batch.targets, Penalties(0.1))
    expected.objective.backward()

    assert float(found.nll) == pytest.approx(float(expected.nll), rel=1e-5)
    with torch.no_grad():
        assert float(CAUSAL.nll(forward, batch).sum()) == pytest.approx(float(expected.nll), rel=1e-5)
    for name, parameter in whole.named_parameters():
        gradient = chunked.get_parameter(name).grad
        assert (gradient is None) == (parameter.grad is None), name
        if parameter.grad is not None:
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-5 * float(parameter.grad.abs().max()))
    assert chunked(**batch.inputs).logits.shape == whole(**batch.inputs).logits.shape


def test_a_trained_output_layer_gets_its_gradient_from_whole_logits() -> None:
    batch, model, whole = CAUSAL.collate(samples()), tiny_model(tied=False), tiny_model(tied=False)

    found = CAUSAL.loss(probed_forward(model, lambda **inputs: model(**inputs).logits, CAUSAL_LM), batch, Penalties(0.1))
    found.objective.backward()
    expected = loss_sums(whole(**batch.inputs).logits[:, batch.positions], batch.places, batch.targets, Penalties(0.1))
    expected.objective.backward()

    torch.testing.assert_close(found.objective, expected.objective)
    torch.testing.assert_close(model.lm_head.weight.grad, whole.lm_head.weight.grad)


def output_adapter() -> Any:
    with peft_warnings_silenced():
        return get_peft_model(tiny_model(tied=False), LoraConfig(r=2, target_modules=["lm_head"]))


def hooked() -> Any:
    model = tiny_model()
    model.lm_head.register_forward_hook(lambda module, inputs, output: output)
    return model


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, head_dim=16, final_logit_softcapping=1.0)), id="capped logits"),
        pytest.param(output_adapter, id="adapter on the output layer"),
        pytest.param(hooked, id="hook on the output layer"),
        pytest.param(lambda: nn.Linear(2, 2), id="no language model"),
    ],
)
def test_a_model_that_does_more_than_multiply_computes_its_own_logits(make: Any) -> None:
    assert plain_output_layer(make()) is None


def test_looking_for_the_output_layer_leaves_mode_and_random_numbers_alone() -> None:
    model = tiny_gpt2().train()
    state = torch.get_rng_state()

    plain_output_layer(model)

    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_that_fails_while_its_output_layer_is_looked_for_keeps_mode_and_layer() -> None:
    model = tiny_gpt2().train()
    layer = model.get_output_embeddings()

    def fail(*_: Any) -> None:
        raise RuntimeError("out of luck")

    hook = model.transformer.h[0].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of luck"):
        plain_output_layer(model)
    hook.remove()

    assert model.training
    assert plain_output_layer(model) is layer
