"""An export that is not the model measured is told from one that rounding alone sets apart."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.trainer.fixtures.causal import random_prompts, tiny_model
from trainer.model.verification import PROBE_ROWS, PROBE_TOKENS, TOLERANCES, ExportMismatchError, Probe, difference_of, fingerprints
from trainer.objectives.family import CAUSAL_LM

ROWS = random_prompts([12, 7])


def probe(model: nn.Module, dtype: torch.dtype = torch.float32) -> Probe:
    return Probe.take(lambda **inputs: model(**inputs).logits, ROWS, dtype, CAUSAL_LM)


def changed(change: Callable[[nn.Module], None]) -> nn.Module:
    model = tiny_model()
    with torch.no_grad():
        change(model)
    return model


def one_layer_scaled(model: nn.Module) -> None:
    model.get_submodule("model.layers.1.mlp.down_proj").weight *= 1.05


def not_a_number(model: nn.Module) -> None:
    model.get_submodule("model.norm").weight[0] = math.nan


def another_vocabulary(model: nn.Module) -> None:
    model.resize_token_embeddings(330)


def test_the_same_model_differs_by_nothing() -> None:
    found = probe(tiny_model()).compare(tiny_model(), "merged model", torch.float32)

    assert (found.relative, found.largest) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(one_layer_scaled, r"its logits differ by .* where rounding in float32 explains 0\.001", id="one layer"),
        pytest.param(not_a_number, r"differ by nan", id="not a number"),
        pytest.param(another_vocabulary, r"logits of shape \(12, 330\) where \(12, 320\)", id="another vocabulary"),
    ],
)
def test_another_model_is_refused_with_how_far_it_is_off(change: Callable[[nn.Module], None], words: str) -> None:
    with pytest.raises(ExportMismatchError, match=rf"the merged model is not the model that was measured: .*{words}"):
        probe(tiny_model()).compare(changed(change), "merged model", torch.float32)


def test_activations_beyond_float16_are_named_as_such() -> None:
    large = changed(lambda model: model.get_submodule("model.norm").weight.fill_(6e4))
    assert all(torch.isfinite(parameter.half()).all() for parameter in large.parameters())

    with pytest.raises(ExportMismatchError, match="the merged model gives numbers that float16 cannot hold; use bfloat16"):
        probe(large).compare(large.half(), "merged model", torch.float16)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_rounded_to_half_the_bits_passes_in_its_own_tolerance_alone(dtype: torch.dtype) -> None:
    measured = probe(tiny_model(layers=8))
    rounded = tiny_model(layers=8).to(dtype)

    found = measured.compare(rounded, "merged model", dtype)

    assert TOLERANCES[torch.float32] < found.relative < TOLERANCES[dtype]
    with pytest.raises(ExportMismatchError):
        measured.compare(rounded, "merged model", torch.float32)


def test_arithmetic_of_the_measured_model_counts_as_much_as_that_of_the_written_one() -> None:
    measured = probe(tiny_model().to(torch.bfloat16), torch.bfloat16)

    assert measured.compare(tiny_model(), "adapter", torch.float32).tolerance == TOLERANCES[torch.bfloat16]


def test_what_softmax_does_not_see_is_no_difference() -> None:
    logits = torch.randn(5, 9, generator=torch.Generator().manual_seed(1))
    shifted: Tensor = logits + torch.tensor([[1.0], [20.0], [-3.0], [0.0], [7.0]])

    assert difference_of([shifted], [logits], 1.0).largest == pytest.approx(0.0, abs=1e-5)


def test_difference_is_the_root_mean_square_over_that_of_the_logits() -> None:
    found = difference_of([torch.tensor([[3.0, -3.0]])], [torch.tensor([[2.0, -2.0]])], 1.0)

    assert (found.relative, found.largest) == (0.5, 1.0)


def test_a_probe_is_of_few_short_rows() -> None:
    long = random_prompts([100] * 9)
    model = tiny_model()

    taken = Probe.take(lambda **inputs: model(**inputs).logits, long, torch.float32, CAUSAL_LM)

    assert [len(row) for row in taken.rows] == [PROBE_TOKENS] * PROBE_ROWS
    assert taken.logits[0].shape == (PROBE_TOKENS, 320)


def test_fingerprints_are_of_the_values_whatever_type_holds_them() -> None:
    rounded = tiny_model().to(torch.bfloat16)

    assert fingerprints(rounded) == fingerprints(tiny_model().to(torch.bfloat16).float())
    assert fingerprints(rounded) != fingerprints(tiny_model())
