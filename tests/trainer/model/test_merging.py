"""An adapter that was lost or changed on its way into the weights is found, however small it is beside rounding."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import Linear
from torch import Tensor

from finetune.api.sections import Regularization
from finetune.api.tasks import TaskName
from tests.builders import train_config
from tests.trainer.fixtures.causal import located_folder, random_prompts, tiny_gpt2, tiny_model
from tests.trainer.fixtures.encoders import tiny_encoder
from trainer.model.beside import Origin
from trainer.model.exporter import TrainedTensors, export
from trainer.model.load import load_model, provenance_of
from trainer.model.lora import apply_method, peft_warnings_silenced
from trainer.model.merging import check_adapter, merge
from trainer.model.tokenizer import load_tokenizer
from trainer.model.verification import ExportMismatchError, Probe
from trainer.objectives.family import CAUSAL_LM
from trainer.storage.localfolder import LocalFolder

INPUT = torch.tensor(random_prompts([12]))
BOTH = train_config(output={"directory": "/output", "export": ["adapter", "merged"]})
HALF = [torch.bfloat16, torch.float16]
SMALL = 1e-3
"""An adapter that moves the logits by far less than the tolerance in bfloat16."""


def adapted(dtype: torch.dtype, size: float, base: Callable[[], Any] = tiny_model, targets: Any = "all-linear") -> PeftModel:
    """Return a model whose adapter adds numbers of about `size`."""
    with peft_warnings_silenced():
        model = get_peft_model(base().to(dtype), LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=targets))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_((size / 4) ** 0.5 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def tensors(model: PeftModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in get_peft_model_state_dict(model, save_embedding_layers=False).items()}


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize("size", [1e-6, SMALL, 1.0])
@pytest.mark.parametrize(
    ("base", "targets"),
    [
        pytest.param(tiny_model, "all-linear", id="linear"),
        pytest.param(tiny_gpt2, ["c_attn", "c_fc"], id="Conv1D"),
        pytest.param(lambda: tiny_model(tied=False), ["embed_tokens", "lm_head"], id="embedding"),
    ],
)
def test_what_peft_merges_passes_whatever_the_adapter_adds_and_in_whatever_type(
    dtype: torch.dtype, size: float, base: Callable[[], Any], targets: Any
) -> None:
    model = adapted(dtype, size, base, targets)
    with peft_warnings_silenced():
        expected = copy.deepcopy(model).merge_and_unload(safe_merge=True).state_dict()

        whole = merge(model).state_dict()

    assert whole.keys() == expected.keys()
    assert all(torch.equal(whole[name], expected[name]) for name in expected)


def not_at_all(self: Linear, *_: Any, **__: Any) -> None:
    self.merged_adapters.append("default")


def by_half(self: Linear, *_: Any, **__: Any) -> None:
    self.get_base_layer().weight.data += 0.5 * self.get_delta_weight("default").to(self.get_base_layer().weight.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize("wrong", [not_at_all, by_half])
def test_a_merge_that_lost_a_small_adapter_is_refused(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, wrong: Any) -> None:
    model = adapted(dtype, SMALL)
    monkeypatch.setattr(Linear, "merge", wrong)

    with pytest.raises(ExportMismatchError, match=r"\d+ numbers of .*q_proj are not the sum of base and adapter; it was not published"):
        merge(model)


def test_a_model_that_comes_without_its_adapter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted(torch.bfloat16, SMALL)
    monkeypatch.setattr(PeftModel, "merge_and_unload", lambda self, safe_merge: self.unload(), raising=False)

    with pytest.raises(ExportMismatchError, match=r"the adapter was not added to 14 layers, such as .*q_proj"):
        merge(model)


def change_one_number(model: PeftModel) -> None:
    next(parameter for name, parameter in model.named_parameters() if "lora_B" in name).data.view(-1)[0] += 1e-7


def change_the_scaling(model: PeftModel) -> None:
    next(module for module in model.modules() if isinstance(module, Linear)).scaling["default"] = 1.0


def round_to_half(model: PeftModel) -> None:
    next(module for name, module in model.named_modules() if name.endswith("lora_B.default")).bfloat16()


def disable(model: PeftModel) -> None:
    model.base_model.disable_adapter_layers()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(change_one_number, "1 of its tensors differ, such as .*lora_B", id="one number"),
        pytest.param(round_to_half, "1 of its tensors differ, such as .*lora_B", id="rounded"),
        pytest.param(change_the_scaling, "q_proj does not act with the scaling 2 ", id="scaling"),
        pytest.param(disable, "q_proj does not act", id="disabled"),
    ],
)
def test_an_adapter_that_was_read_back_as_another_is_refused(change: Callable[[PeftModel], None], words: str) -> None:
    model = adapted(torch.bfloat16, SMALL)
    written = tensors(model)
    check_adapter(model, written, 2.0)
    change(model)

    with pytest.raises(ExportMismatchError, match=words):
        check_adapter(model, written, 2.0)


def test_a_head_that_was_read_back_in_the_base_s_type_is_the_trained_one_rounded_to_it_and_no_other() -> None:
    base = tiny_encoder("AutoModelForSequenceClassification", num_labels=3).bfloat16()
    with peft_warnings_silenced():
        model = get_peft_model(base, LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, target_modules=["query"]))
    written, name = tensors(model), "base_model.model.classifier.weight"
    assert written[name].dtype is torch.bfloat16
    trained = {key: value.float() for key, value in written.items()}
    trained[name] *= 1 + 2**-10  # less than half of bfloat16's step
    check_adapter(model, trained, 2.0)

    trained[name][0, 0] *= 1 + 2**-6

    with pytest.raises(ExportMismatchError, match=r"1 of its tensors differ, such as .*classifier\.weight"):
        check_adapter(model, trained, 2.0)


@pytest.mark.parametrize("lost", ["adapter", "merge"])
def test_an_export_that_lost_an_adapter_too_small_for_the_logits_is_not_published(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    located = located_folder(saved_model)
    model: Any = apply_method(
        load_model(located, torch.bfloat16, CAUSAL_LM), BOTH.method, Regularization(), seed=1, family=CAUSAL_LM
    ).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter += SMALL * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(9))
    probe = Probe.take(lambda **inputs: model(**inputs).logits, random_prompts([12, 20], seed=5), torch.bfloat16, CAUSAL_LM)
    with model.disable_adapter():
        probe.compare(model, "untrained base", torch.bfloat16)  # passes: logits alone do not tell
    trained = TrainedTensors.of(model, dict(model.named_parameters()), step=7)
    origin = Origin(
        located, load_tokenizer(located), provenance_of(located, torch.bfloat16), "support-bot", torch.bfloat16, CAUSAL_LM, TaskName.CHAT
    )
    if lost == "merge":
        monkeypatch.setattr(Linear, "merge", not_at_all)
    else:
        original = PeftModel.from_pretrained

        def without_adapter(base: Any, folder: Path) -> PeftModel:
            loaded = original(base, folder)
            for name, parameter in loaded.named_parameters():
                parameter.data.mul_("lora_B" not in name)
            return loaded

        monkeypatch.setattr(PeftModel, "from_pretrained", without_adapter)

    with pytest.raises(ExportMismatchError):
        export(trained, origin, BOTH.exports, LocalFolder(tmp_path / "model"), probe)

    assert not list((tmp_path / "model").iterdir())
