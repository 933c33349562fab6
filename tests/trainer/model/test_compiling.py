"""Layers that torch compiles: names stay, a missing compiler is reported, and training has the figures of layers that are not."""

import shutil
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from transformers import LlamaForCausalLM

from finetune.api.errors import InputError
from finetune.api.sections import LoraMethod, Method, Regularization
from tests.trainer.engine.program import ADAMW, NEW_TOKENS, PROMPTS, new_model, one_step, rows_of_step
from tests.trainer.fixtures.batches import forward_of
from tests.trainer.fixtures.causal import tiny_tokenizer
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.evaluation.measuring.tokens import token_rows
from trainer.evaluation.predictors import generate_over_ranks
from trainer.model.compiling import compile_layers
from trainer.model.lora import apply_method
from trainer.model.loralinear import fuse_adapters
from trainer.objectives.causal import CAUSAL
from trainer.objectives.family import CAUSAL_LM
from trainer.training.batches import AtOnce

CPU = torch.device("cpu")
LAYERS = 6


def test_only_layers_are_compiled_and_no_name_changes() -> None:
    model = apply_method(new_model(), Method(lora=LoraMethod(rank=4)), Regularization(), seed=6, family=CAUSAL_LM)
    before = [name for name, _ in model.named_parameters()]
    assert compile_layers(model, CPU) == 2
    assert [name for name, _ in model.named_parameters()] == before == [name for name in model.state_dict() if name in before]
    compiled = [type(module).__name__ for module in model.modules() if module._compiled_call_impl is not None]
    assert compiled == ["LlamaDecoderLayer"] * 2


def test_a_worker_without_a_compiler_is_reported_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(InputError, match=r"training\.compile: this worker has no compiler \(g\+\+, clang\+\+\); use an image with one"):
        compile_layers(new_model(), CPU)


def test_a_model_that_does_not_name_its_layers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LlamaForCausalLM, "_no_split_modules", None)
    model = new_model()
    model._no_split_modules = None
    with pytest.raises(InputError, match=r"training\.compile: LlamaForCausalLM does not say what its layers are"):
        compile_layers(model, CPU)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's compiler
def test_compiled_layers_train_and_answer_as_others_and_share_what_is_compiled() -> None:
    plain, compiled = (trained(compiled=compiled) for compiled in (False, True))
    for name in ("losses", "nll"):
        assert compiled[name] == pytest.approx(plain[name], rel=1e-5), name
    assert compiled["norms"][0] == pytest.approx(plain["norms"][0], rel=1e-5)
    assert compiled["norms"] == pytest.approx(plain["norms"], rel=1e-4), "AdamW makes more of a difference with every step"
    assert compiled["answers"] == plain["answers"]
    before, after = plain["state"].parameters, compiled["state"].parameters
    assert list(after) == list(before)
    assert all(torch.allclose(after[name], before[name], atol=1e-3) for name in before)
    # The first layer's input needs no gradient, and torch compiles for a single row by itself; lengths and answers need no more.
    assert 1 <= counters["frames"]["ok"] <= 4 < LAYERS


def trained(*, compiled: bool) -> dict[str, Any]:
    """Train a few steps of ragged rows, and return the figures, the answers and the state."""
    model = apply_method(new_model(LAYERS), Method(lora=LoraMethod(rank=4)), Regularization(), 1, CAUSAL_LM)  # dropout draws other masks
    fuse_adapters(model)
    engine = DdpEngine(model, EngineSettings(ADAMW, 0.5, 2, 4), CPU)
    forward = forward_of(engine)
    if compiled:
        compile_layers(model, CPU)
    steps = [one_step(engine, step, 2) for step in range(3)]
    nll = token_rows(engine, forward, CAUSAL, rows_of_step(0), AtOnce(3)).sums.nll_sum
    answers = [answer.text for answer in generate_over_ranks(engine, tiny_tokenizer(), PROMPTS, NEW_TOKENS, batch_size=2)]
    return {
        "losses": [step["loss"] for step in steps], "norms": [step["norm"] for step in steps], "nll": nll, "answers": answers,
        "state": engine.state(),
    }  # fmt: skip
