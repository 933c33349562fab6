"""A base model in 4 bits trains as PEFT's does, and exports what was measured. Most need bitsandbytes (the extra qlora)."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from finetune.api.errors import InputError
from finetune.api.sections import Export, Method, Quantization, Regularization
from finetune.api.tasks import TaskName
from tests.trainer.fixtures.causal import located_folder, random_prompts, save_tiny_model, tiny_gpt2, tiny_model
from tests.trainer.fixtures.encoders import MASKED, SPANS, classes_family, save_encoder
from trainer.model import quantization as module
from trainer.model.beside import Origin
from trainer.model.exporter import TrainedTensors, base_dtype, export
from trainer.model.load import load_model, provenance_of
from trainer.model.lora import adapters_off, apply_method, peft_warnings_silenced
from trainer.model.loralinear import fuse_adapters
from trainer.model.quantization import check_available, quantization_of, refuse_unfit, settle
from trainer.model.tokenizer import load_tokenizer
from trainer.model.verification import TOLERANCES, Probe, difference_of
from trainer.objectives.family import CAUSAL_LM, Family
from trainer.outputs import logits_of
from trainer.storage.localfolder import LocalFolder

INPUT = torch.tensor(random_prompts([12]))
METHOD = Method.model_validate({"lora": {"rank": 4, "quantization": {"type": "nf4"}}})
QUANTIZATION = Quantization()
needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes (the extra qlora) is not installed")


def test_without_the_extra_a_job_is_refused_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^method\.lora\.quantization: needs the package bitsandbytes.*qlora"):
        check_available(QUANTIZATION)
    check_available(quantization_of(Method.model_validate({"lora": {}})))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "base", tied=True, width=64)


def trained(base: Path, dtype: torch.dtype = torch.float32, family: Family = CAUSAL_LM) -> Any:
    """Return a quantized model whose trained weights have moved, as if by training."""
    loaded = load_model(located_folder(base), dtype, family, QUANTIZATION)
    model = apply_method(loaded, METHOD, Regularization(), seed=1, family=family)
    torch.manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    return model.eval()


def loaded_by_its_card(folder: Path) -> dict[str, Any]:
    """Return what the card's lines define up to the model, which they do not ask: on some CPUs that would round the scales."""
    loading, found, _ = (
        (folder / "README.md").read_text().split("```python")[1].partition("model = PeftModel.from_pretrained(base, folder)")
    )
    defined: dict[str, Any] = {}
    with peft_warnings_silenced():
        exec((loading + found).replace('"."', repr(str(folder))), defined)  # noqa: S102
    settle(defined["model"])
    return defined


@needs_bitsandbytes
def test_linear_layers_are_held_in_4_bits_and_computed_by_peft_with_gradients_for_adapters_alone(base: Path) -> None:
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    plain = load_model(located_folder(base), torch.bfloat16, CAUSAL_LM).eval()
    model = trained(base, torch.bfloat16)
    layers = [layer for layer in model.modules() if isinstance(layer, Linear4bit)]
    assert len(layers) == sum(isinstance(layer, torch.nn.Linear) for layer in plain.modules()) - 1, "all but the output layer"
    assert {(layer.weight.quant_type, layer.weight.dtype, layer.compute_dtype) for layer in layers} == {
        ("nf4", torch.uint8, torch.bfloat16)
    }
    assert all(layer.weight.quant_state.nested for layer in layers)
    assert base_dtype(model) == torch.bfloat16
    assert fuse_adapters(model) == 0
    with torch.no_grad():
        for quantized, linear in zip(layers, (layer for layer in plain.modules() if isinstance(layer, torch.nn.Linear)), strict=False):
            weight = dequantize_4bit(quantized.weight.data, quantized.weight.quant_state)
            scales = linear.weight.float().view(-1, 64).abs().amax(1, keepdim=True)
            apart = (weight - linear.weight).float().view(-1, 64).abs() / scales
            assert 0 < float(apart.max()) < 0.17, "half of the largest step of NF4 is 0.152 of a block's largest weight"
            linear.weight.copy_(weight)
        with adapters_off(model):
            torch.testing.assert_close(model(INPUT).logits, plain(INPUT).logits, rtol=0.05, atol=0.05)
    model(INPUT).logits.float().square().sum().backward()
    assert all((parameter.grad is not None) == ("lora_" in name) for name, parameter in model.named_parameters())


@needs_bitsandbytes
def test_evaluation_leaves_the_quantized_weights_as_they_are(base: Path) -> None:
    model = load_model(located_folder(base), torch.bfloat16, CAUSAL_LM, QUANTIZATION)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    with torch.no_grad():
        model.eval()(INPUT)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


@needs_bitsandbytes
def test_the_adapter_gives_what_was_measured_and_the_merged_model_is_the_original_with_the_adapter(base: Path, tmp_path: Path) -> None:
    model, located = trained(base), located_folder(base)
    provenance = provenance_of(located, torch.float32, None, QUANTIZATION)
    assert provenance.precision == "nf4 (4-bit, double quantization), other weights float32"
    origin = Origin(located, load_tokenizer(located), provenance, "bot", torch.float32, CAUSAL_LM, TaskName.CHAT, QUANTIZATION)
    probe = Probe.take(lambda **inputs: model(**inputs).logits, random_prompts([12, 20], seed=5), torch.float32, CAUSAL_LM)
    tensors = TrainedTensors.of(model, dict(model.named_parameters()), step=7)
    adapter, merged = export(tensors, origin, list(Export), LocalFolder(tmp_path / "model"), probe)

    assert adapter.difference.relative <= adapter.difference.tolerance == 1e-3
    assert "differenceFromMeasured" not in adapter.to_wire()
    assert merged.difference.relative <= merged.difference.tolerance == 1e-3
    assert merged.to_wire()["differenceFromMeasured"] > 1e-3, "the original weights are not the quantized ones"

    folder = tmp_path / "model"
    quantized = loaded_by_its_card(folder / "adapter")
    torch.testing.assert_close(quantized["model"].eval()(INPUT).logits, model(INPUT).logits, rtol=1e-4, atol=1e-4)
    with peft_warnings_silenced():
        original = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder / "adapter").eval()
    whole = AutoModelForCausalLM.from_pretrained(folder / "merged")
    torch.testing.assert_close(whole(INPUT).logits, original(INPUT).logits, rtol=1e-4, atol=1e-4)
    assert "merged into the original weights" in (folder / "merged" / "README.md").read_text()
    assert isinstance(quantized["quantized"], BitsAndBytesConfig)


@needs_bitsandbytes
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("model_type", "auto_class", "family"),
    [
        pytest.param("bert", "AutoModel", classes_family(), id="new head, pooler kept"),
        pytest.param("roberta", "AutoModelForSequenceClassification", classes_family(), id="head kept"),
        pytest.param("roberta", "AutoModelForMaskedLM", MASKED, id="tied head kept"),
        pytest.param("bert", "AutoModel", SPANS, id="spans"),
    ],
)
def test_a_head_beside_a_quantized_base_is_whole_is_trained_in_float32_and_loads_by_its_card(
    tmp_path: Path, model_type: str, auto_class: str, family: Family, dtype: torch.dtype
) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 64} | (classes_family().settings if "Sequence" in auto_class else {})
    located = located_folder(save_encoder(tmp_path / "base", auto_class, model_type, **sizes))
    model = trained(Path(located.path), dtype, family)
    held = {name: parameter.dtype for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert set(held.values()) == {torch.float32}
    assert any("modules_to_save" in name for name in held)
    assert any(parameter.dtype is torch.uint8 for parameter in model.parameters())

    def measured(**inputs: Any) -> Any:
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            return logits_of(model(**inputs))

    ids = torch.tensor([[2, first, 2 * first, first + 50, 3] for first in (30, 60, 90, 120)])
    probe, expected = Probe.take(measured, ids.tolist(), dtype, family), measured(input_ids=ids).detach()
    provenance = provenance_of(located, dtype, None, QUANTIZATION)
    origin = Origin(located, load_tokenizer(located), provenance, "bot", dtype, family, TaskName.CHAT, QUANTIZATION)
    tensors = TrainedTensors.of(model, dict(model.named_parameters()), step=7)
    export(tensors, origin, list(Export), LocalFolder(tmp_path / "model"), probe)

    loaded = loaded_by_its_card(tmp_path / "model" / "adapter")["model"]
    found = logits_of(loaded.eval()(input_ids=ids)).detach()
    assert difference_of(found, expected, TOLERANCES[dtype]).relative < TOLERANCES[dtype]


@pytest.mark.parametrize(
    ("model", "layer"), [(tiny_gpt2(), "transformer.h.0.attn.c_attn"), (tiny_model(), "model.layers.0.self_attn.q_proj")]
)
def test_layers_whose_rows_are_no_whole_blocks_are_refused(model: Any, layer: str) -> None:
    with pytest.raises(InputError, match=f"{layer} has 32 inputs, and bitsandbytes quantizes 64 at a time"):
        refuse_unfit(model)
    refuse_unfit(tiny_model(width=64))
