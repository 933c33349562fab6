"""What is exported of an encoder-decoder generates, in another process with plain transformers, what the trained model generates."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.api.sections import Regularization
from finetune.api.tasks import TaskName
from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from tests.trainer.fixtures.causal import located_folder
from tests.trainer.fixtures.seq2seq import END, KINDS, save_tiny_seq2seq, warm_start, word_tokenizer
from trainer.evaluation.generation import generate
from trainer.model.beside import Origin
from trainer.model.exporter import TrainedTensors, base_dtype, export
from trainer.model.load import load_model, provenance_of
from trainer.model.lora import apply_method
from trainer.model.tokenizer import load_tokenizer
from trainer.model.verification import Probe
from trainer.objectives.seq2seq import SEQ2SEQ_LM
from trainer.storage.localfolder import LocalFolder

BOTH = train_config(output={"directory": "/output", "export": ["adapter", "merged"]})
FULL = train_config(method={"full": {}})
SOURCES = [[3, 5, 6, END], [4, 7, END], [3, 12, 11, 10, END]]
RELOAD = """
import json, sys
import torch
from peft import PeftModel
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

found = []
for folder, adapter in json.loads(sys.argv[1]):
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    model = (PeftModel.from_pretrained(model, adapter) if adapter else model).eval()
    tokenizer = AutoTokenizer.from_pretrained(adapter or folder)
    outputs = [model.generate(input_ids=torch.tensor([source]), max_new_tokens=8) for source in json.loads(sys.argv[2])]
    found.append([tokenizer.decode(output[0], skip_special_tokens=True) for output in outputs])
print(json.dumps(found))
"""


def trained(folder: Path, config: TrainConfig, dropout: float = 0.1) -> Any:
    """Return a model whose trained weights have moved, as if by training."""
    loaded = load_model(located_folder(folder), torch.float32, SEQ2SEQ_LM)
    model = apply_method(loaded, config.method, Regularization(dropout=dropout), seed=1, family=SEQ2SEQ_LM)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def exported(model: Any, config: TrainConfig, base: Path, directory: Path) -> list[Path]:
    located = located_folder(base)
    origin = Origin(
        located, load_tokenizer(located), provenance_of(located, torch.float32), "bot", base_dtype(model), SEQ2SEQ_LM, TaskName.TRANSLATION
    )
    probe = Probe.take(lambda **inputs: model(**inputs).logits, SOURCES, torch.float32, SEQ2SEQ_LM)
    state = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    tensors = TrainedTensors.of(model, state, step=7)
    return [Path(form.uri) for form in export(tensors, origin, config.exports, LocalFolder(directory), probe)]


def reloaded(folders: list[tuple[str, str | None]]) -> list[list[str]]:
    """Return the answers of each model, a folder with an adapter or without, in one other process."""
    command = [sys.executable, "-c", RELOAD, json.dumps(folders), json.dumps(SOURCES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    found: list[list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_every_form_answers_as_the_model_that_was_trained(tmp_path: Path) -> None:
    expected: list[list[str]] = []
    folders: list[tuple[str, str | None]] = []
    for kind in KINDS:
        base = save_tiny_seq2seq(tmp_path / kind / "base", kind)
        for config in (BOTH, FULL):
            model = trained(base, config)
            answers = [answer.text for answer in generate(model, word_tokenizer(), SOURCES, 8)]
            assert len(set(answers)) > 1, "the test needs different answers"
            *adapter, whole = exported(model, config, base, tmp_path / kind / ("adapted" if config is BOTH else "whole"))
            folders += [*((str(base), str(one)) for one in adapter), (str(whole), None)]
            expected += [answers] * (len(adapter) + 1)

    assert reloaded(folders) == expected


@pytest.mark.parametrize("config", [BOTH, FULL], ids=["adapter", "whole"])
def test_a_part_that_nothing_is_computed_with_is_exported_as_it_was(tmp_path: Path, config: TrainConfig) -> None:
    base = tmp_path / "base"
    warm_start(len(word_tokenizer())).save_pretrained(base)
    word_tokenizer().save_pretrained(base)
    *_, whole = exported(trained(base, config, dropout=0.0), config, base, tmp_path / "model")
    before, after = (load_model(located_folder(folder), torch.float32, SEQ2SEQ_LM).state_dict() for folder in (base, whole))
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert any(name.endswith("attention.self.query.weight") for name in changed)
    assert not any("pooler" in name for name in changed)


def test_the_card_and_the_settings_are_those_of_an_encoder_decoder(tmp_path: Path) -> None:
    base = save_tiny_seq2seq(tmp_path / "base", "t5")
    (whole,) = exported(trained(base, FULL), FULL, base, tmp_path / "model")
    card = (whole / "README.md").read_text()
    assert "AutoModelForSeq2SeqLM.from_pretrained(folder)" in card
    assert "pipeline_tag: translation" in card
    settings = json.loads((whole / "generation_config.json").read_text())
    assert (settings["decoder_start_token_id"], settings["eos_token_id"]) == (0, END)
