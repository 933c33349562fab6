"""Frozen weights get no gradient, stay bit for bit the same, are in no checkpoint, and in every export."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from finetune.api.errors import InputError
from finetune.api.method import Freeze
from finetune.api.sections import Export, FullMethod, Method, Regularization, Training
from finetune.api.tasks import TaskName
from tests.trainer.fixtures.causal import located_folder, random_prompts, save_tiny_model, tiny_gpt2, tiny_model
from tests.trainer.fixtures.encoders import classes_family, save_encoder, tiny_encoder
from tests.trainer.fixtures.seq2seq import tiny_seq2seq
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.model.beside import Origin
from trainer.model.exporter import TrainedTensors, export
from trainer.model.freezing import tied_findings
from trainer.model.layers import depths
from trainer.model.load import load_model, provenance_of
from trainer.model.lora import apply_method
from trainer.model.tokenizer import load_tokenizer
from trainer.model.verification import Probe
from trainer.objectives.family import CAUSAL_LM, Family
from trainer.objectives.masked import MASKED_LM
from trainer.objectives.seq2seq import SEQ2SEQ_LM
from trainer.outputs import logits_of
from trainer.storage.localfolder import LocalFolder

CLASSES = classes_family()
PLAIN, BY_LAYER = Training(epochs=1), Training(epochs=1, layerwiseLearningRateDecay=0.9)


def method(**wanted: Any) -> Method:
    return Method(full=FullMethod(freeze=Freeze.model_validate(wanted)))


def frozen(model: Any, family: Family = CAUSAL_LM, **wanted: Any) -> Any:
    return apply_method(model, method(**wanted), Regularization(), seed=1, family=family)


def encoder() -> Any:
    return tiny_encoder("AutoModelForSequenceClassification", num_labels=3)


@pytest.mark.parametrize(
    ("build", "family", "wanted", "expected"),
    [
        pytest.param(tiny_model, CAUSAL_LM, {"embeddings": True}, ("model.embed_tokens.",), id="embeddings"),
        pytest.param(tiny_model, CAUSAL_LM, {"layers": 1}, ("model.layers.0.",), id="a layer"),
        pytest.param(
            tiny_gpt2, CAUSAL_LM, {"embeddings": True, "layers": 2}, ("transformer.wte.", "transformer.wpe.", "transformer.h."), id="both"
        ),
        pytest.param(lambda: tiny_seq2seq("t5", 60), SEQ2SEQ_LM, {"layers": 3}, ("encoder.block.", "decoder.block.0."), id="encoder first"),
        pytest.param(encoder, CLASSES, {"body": True}, ("bert.embeddings.", "bert.encoder."), id="body"),
        pytest.param(encoder, CLASSES, {"embeddings": True, "layers": 1}, ("bert.embeddings.", "bert.encoder.layer.0."), id="encoder"),
    ],
)
def test_exactly_the_named_parts_are_frozen(
    build: Callable[[], Any], family: Family, wanted: dict[str, Any], expected: tuple[str, ...]
) -> None:
    model = frozen(build(), family, **wanted)
    found = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert found == {name for name, _ in model.named_parameters() if name.startswith(expected)}
    assert found


@pytest.mark.parametrize(
    ("build", "family", "wanted", "field", "words"),
    [
        pytest.param(
            tiny_model, CAUSAL_LM, {"layers": 3}, "layers", "3 is more than the 2 layers of LlamaForCausalLM; give at most 2", id="3"
        ),
        pytest.param(tiny_model, CAUSAL_LM, {"body": True}, "body", "no layers of the task's own on top of its body", id="no head"),
        pytest.param(encoder, CLASSES, {"layers": 7}, "layers", "more than the 2 layers of BertForSequenceClassification", id="encoder"),
    ],
)
def test_what_a_model_does_not_have_is_refused(build: Any, family: Family, wanted: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        frozen(build(), family, **wanted)
    assert refused.value.field == f"method.full.freeze.{field}"


def test_a_model_of_which_nothing_is_left_to_train_is_refused() -> None:
    model = tiny_model()
    model.model.norm = torch.nn.Identity()
    with pytest.raises(InputError, match="nothing of LlamaForCausalLM would be trained; freeze less"):
        frozen(model, embeddings=True, layers=2)


def test_frozen_embeddings_of_a_tied_model_freeze_its_output_layer_and_that_is_said() -> None:
    tied, untied = frozen(tiny_model(), embeddings=True), frozen(tiny_model(tied=False), embeddings=True)
    [found] = tied_findings(tied, method(embeddings=True), PLAIN)
    assert found.startswith("method.full.freeze.embeddings: the output layer of this model has the weights of its embeddings")
    assert tied_findings(tied, method(embeddings=True), BY_LAYER) == (found,), "what is frozen has no rate"
    assert tied_findings(untied, method(embeddings=True), PLAIN) == ()
    assert tied_findings(frozen(tiny_model(), layers=1), method(layers=1), PLAIN) == ()


def test_that_a_tied_output_layer_learns_at_the_rate_of_the_embeddings_is_said() -> None:
    whole = Method(full=FullMethod())
    [found] = tied_findings(tiny_model(), whole, BY_LAYER)
    assert found.startswith("training.layerwiseLearningRateDecay: the output layer of this model has the weights of its embeddings")
    assert tied_findings(tiny_model(), whole, PLAIN) == ()
    assert tied_findings(tiny_model(tied=False), whole, BY_LAYER) == ()
    assert depths(tiny_model())["model.embed_tokens.weight"] == 3, "so the output layer has no rate of its own"
    assert "lm_head.weight" not in depths(tiny_model())


def trained(model: Any, steps: int = 3) -> DdpEngine:
    """Return the engine after some steps with weight decay, which must not touch what is frozen."""
    settings = EngineSettings(AdamW(0.1), gradient_clipping=1.0, micro_batch_size=2, micro_batches_per_step=1)
    engine = DdpEngine(model, settings, torch.device("cpu"))
    for seed in range(steps):
        ids = torch.tensor(random_prompts([10, 10], seed)) % 60
        logits = engine.forward(input_ids=ids)
        engine.backward(logits.logsumexp(-1).sum() / 10 + logits.pow(2).mean(), last=True)
        engine.step(1e-2)
    return engine


@pytest.mark.parametrize(
    ("build", "family", "wanted"),
    [
        pytest.param(tiny_model, CAUSAL_LM, {"embeddings": True, "layers": 1}, id="causal"),
        pytest.param(encoder, CLASSES, {"body": True}, id="body of an encoder"),
    ],
)
def test_frozen_weights_stay_bit_for_bit_and_need_no_state(build: Any, family: Family, wanted: dict[str, Any]) -> None:
    base = build()
    before = copy.deepcopy(base).state_dict()
    engine = trained(frozen(base, family, **wanted))
    names = {name for name, parameter in engine.model.named_parameters() if not parameter.requires_grad}
    after = engine.model.state_dict()
    assert names
    assert all(torch.equal(before[name], after[name]) for name in names)
    state = engine.state()
    learned = {name for name, _ in engine.trainable()}
    assert all(not torch.equal(before[name], after[name]) for name in learned)
    assert all(group.keys() == learned for group in state.groups().values())
    assert learned.isdisjoint(names)
    held = sum(value.numel() for kept in engine._optimizer.state.values() for value in kept.values() if value.numel() > 1)
    assert held == 2 * engine.trained_elements()


@pytest.mark.parametrize(
    ("family", "wanted"),
    [
        pytest.param(CAUSAL_LM, {"embeddings": True, "layers": 1}, id="causal"),
        pytest.param(CLASSES, {"body": True}, id="encoder with a new head"),
        pytest.param(MASKED_LM, {"layers": 1}, id="masked"),
    ],
)
def test_the_export_has_trained_and_frozen_weights(tmp_path: Path, family: Family, wanted: dict[str, Any]) -> None:
    folder = save_tiny_model(tmp_path / "base") if family is CAUSAL_LM else save_encoder(tmp_path / "base", "AutoModelForMaskedLM")
    located = located_folder(folder)
    engine = trained(frozen(load_model(located, torch.float32, family, seed=5), family, **wanted))
    model = engine.model.eval()
    rows = [[5, 9, 21, 33], [8, 40, 7]]
    probe = Probe.take(lambda **inputs: logits_of(model(**inputs)), rows, torch.float32, family)
    provenance = provenance_of(located, torch.float32)
    origin = Origin(located, load_tokenizer(located), provenance, "job", torch.float32, family, TaskName.CHAT)
    checkpoint = engine.state().parameters
    assert len(checkpoint) < len(list(model.parameters()))

    export(TrainedTensors.of(model, checkpoint, 3), origin, [Export.MERGED], LocalFolder(tmp_path / "out"), probe)

    again = getattr(transformers, family.auto_class).from_pretrained(tmp_path / "out" / "merged")
    assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())
    assert "but those that were frozen" in (tmp_path / "out" / "merged" / "README.md").read_text()
