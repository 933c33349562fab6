"""The lines of Python in an export's README load and ask it, run as they stand in the folder that they lie in."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForSequenceClassification, AutoTokenizer, T5Config, T5ForConditionalGeneration

from finetune.api.sections import Export, LoraMethod, Method, Regularization
from finetune.api.tasks import ModelFamily, TaskName
from tests.builders import train_config
from tests.trainer.fixtures.causal import located_folder, random_prompts, save_tiny_model, tiny_tokenizer
from tests.trainer.fixtures.encoders import CLASSES, MASKED, SPANS, bert_tokenizer, classes_family, save_encoder
from tests.trainer.model.test_exporter import exported, trained
from trainer.model.beside import Origin
from trainer.model.card import adapter_card, merged_card
from trainer.model.cardcode import TEXT
from trainer.model.exporter import TrainedTensors, export
from trainer.model.load import load_model, provenance_of
from trainer.model.location import ModelKind
from trainer.model.lora import apply_method, peft_warnings_silenced
from trainer.model.tokenizer import load_tokenizer
from trainer.model.verification import Probe
from trainer.objectives.family import CAUSAL_LM, Family
from trainer.storage.localfolder import LocalFolder

BOTH = train_config(output={"directory": "/output", "export": ["adapter", "merged"]})
INPUT = torch.tensor(random_prompts([12]))


def run_readme(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the README's Python in its folder and return the names that it leaves."""
    [code] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    with peft_warnings_silenced():
        exec(code, names)  # noqa: S102 that it runs is what is tested
    return names


@pytest.mark.parametrize("index", [0, 1], ids=["adapter", "merged"])
def test_the_readme_loads_the_model_that_was_trained(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    model = trained(saved_model, BOTH)
    folder = exported(model, BOTH, saved_model, tmp_path / "model")[index]
    moved = folder.rename(tmp_path / "elsewhere")

    names = run_readme(moved, monkeypatch)

    torch.testing.assert_close(names["model"].eval()(INPUT).logits, model(INPUT).logits, rtol=1e-4, atol=1e-4)
    assert names["tokenizer"].chat_template


def test_the_readme_says_which_weights_the_base_has(saved_model: Path, tmp_path: Path) -> None:
    folder, _ = exported(trained(saved_model, BOTH), BOTH, saved_model, tmp_path / "model")

    text = (folder / "README.md").read_text()

    assert provenance_of(located_folder(saved_model), torch.float32).digest in text
    assert f"`{saved_model.resolve()}` is where the base was" in text


def test_a_base_of_the_hub_is_named_with_its_commit(saved_model: Path) -> None:
    located = replace(located_folder(saved_model), name="org/model", revision="c" * 40)

    text = adapter_card(
        Origin(located, None, provenance_of(located, torch.float32), "bot", torch.bfloat16, CAUSAL_LM, TaskName.CHAT), "org/model", "c" * 40
    )

    assert "base_model: org/model" in text
    assert f"from_pretrained('org/model', revision='{'c' * 40}', dtype='bfloat16')" in text


def test_the_card_says_how_to_make_dequantized_weights_again(saved_model: Path) -> None:
    located = replace(located_folder(saved_model), kind=ModelKind.GGUF, path=Path("/packages/model.gguf"))
    provenance = provenance_of(located_folder(saved_model), torch.float32)

    text = adapter_card(Origin(located, None, provenance, "bot", torch.float32, CAUSAL_LM, TaskName.CHAT), "/cache/folder", None)

    assert "`python -m trainer.model.gguf /packages/model.gguf FOLDER` makes the folder again" in text
    assert "base_model:" not in text


def test_a_base_on_a_claim_is_named_by_claim_and_path(saved_model: Path) -> None:
    located = located_folder(saved_model)
    origin = Origin(located, None, provenance_of(located, torch.float32), "bot", torch.float32, CAUSAL_LM, TaskName.CHAT)

    text = adapter_card(origin, "/mnt/claims/models/llama/1b", None)

    assert "is where the base was in the job's pods (`llama/1b` on the PersistentVolumeClaim models) when this was written" in text


def test_the_readme_asks_a_trained_chat_model_as_training_did(saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = exported(trained(saved_model, BOTH), BOTH, saved_model, tmp_path / "model")[1]

    names = run_readme(folder, monkeypatch)

    tokenizer, messages = names["tokenizer"], [{"role": "user", "content": names["text"]}]
    written = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(names["inputs"]["input_ids"][0]) == written
    assert isinstance(names["answer"], str)


def test_a_license_of_the_base_model_is_the_exports(saved_model: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(saved_model, tmp_path / "base"))
    (base / "README.md").write_text("---\nlicense: mit\n---\n")

    folder, _ = exported(trained(base, BOTH), BOTH, base, tmp_path / "model")

    assert ModelCard.load(folder / "README.md").data.license == "mit"


@dataclass(frozen=True)
class Kind:
    """A model of one kind, and how its card says that it is asked."""

    family: Family
    make: Callable[[Path], object]
    task: TaskName
    wording: str = TEXT


def _encoder(auto_class: str, **settings: Any) -> Callable[[Path], object]:
    return lambda folder: save_encoder(folder, auto_class, **settings)


def _t5(folder: Path) -> None:
    torch.manual_seed(5)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4, "decoder_start_token_id": 0, "eos_token_id": 3}
    T5ForConditionalGeneration(T5Config(vocab_size=261, **sizes)).save_pretrained(folder)
    bert_tokenizer().save_pretrained(folder)


SEQ2SEQ = Family(ModelFamily.SEQ2SEQ, "AutoModelForSeq2SeqLM", "SEQ_2_SEQ_LM")
SEVERAL = classes_family(problem="multi_label_classification")
KINDS = {
    "plain text": Kind(CAUSAL_LM, lambda folder: save_tiny_model(folder, tiny_tokenizer(None)), TaskName.TEXT_GENERATION),
    "worded": Kind(CAUSAL_LM, save_tiny_model, TaskName.TRANSLATION, "Say it's \"\n{text}\" now"),
    "encoder-decoder": Kind(SEQ2SEQ, _t5, TaskName.TRANSLATION, "translate: {text}"),
    "classes": Kind(classes_family(), _encoder("AutoModelForSequenceClassification", **classes_family().settings), TaskName.CHAT),
    "several labels": Kind(SEVERAL, _encoder("AutoModelForSequenceClassification", **SEVERAL.settings), TaskName.CHAT),
    "spans": Kind(SPANS, _encoder("AutoModelForQuestionAnswering"), TaskName.CHAT),
    "masked": Kind(MASKED, _encoder("AutoModelForMaskedLM"), TaskName.CHAT),
}  # fmt: skip
RUN = """
import json, os, re, sys
answers = {}
for folder in sys.argv[1:]:
    os.chdir(folder)
    code = re.findall(r"```python\\n(.*?)```", open("README.md").read(), re.DOTALL)
    names = {}
    exec(code[0], names)
    ids = names["inputs"]["input_ids"][0]
    answers[os.path.basename(folder)] = {"answer": names["answer"], "read": names["tokenizer"].decode(ids, skip_special_tokens=True)}
print(json.dumps(answers))
"""


def test_the_readme_of_every_kind_of_model_asks_it_in_another_process(saved_model: Path, tmp_path: Path) -> None:
    provenance = provenance_of(located_folder(saved_model), torch.float32)
    for name, kind in KINDS.items():
        folder = tmp_path / name
        kind.make(folder)
        tokenizer = load_tokenizer(located_folder(folder))
        origin = Origin(
            located_folder(folder), tokenizer, provenance, "bot", torch.float32, kind.family, kind.task, wording=kind.wording,
            report={"hyperparameters": {"evaluation": {"generation": {"maxNewTokens": 8}}}},
        )  # fmt: skip
        (folder / "README.md").write_text(merged_card(origin, None))

    folders = [str(tmp_path / name) for name in KINDS]
    done = subprocess.run([sys.executable, "-c", RUN, *folders], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout)
    assert answers["plain text"]["read"] == "…"
    assert 'Say it\'s "\n…" now' in answers["worded"]["read"]
    assert answers["encoder-decoder"]["read"] == "translate: …"
    assert answers["classes"]["answer"] == likeliest(tmp_path / "classes")
    assert set(answers["several labels"]["answer"]) <= set(CLASSES)
    assert answers["spans"]["answer"] in "…"
    assert len(answers["masked"]["answer"]) >= 1
    assert all(isinstance(found["answer"], str | list) for found in answers.values())


def likeliest(folder: Path) -> str:
    """Return the class that a model gives the text of the card."""
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    return CLASSES[int(model(**tokenizer("…", return_tensors="pt")).logits.argmax())]


def test_the_readme_of_an_adapter_with_a_head_gives_its_base_the_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = save_encoder(tmp_path / "base")
    method = Method(lora=LoraMethod.model_validate({"rank": 4}))
    family = classes_family()
    model: Any = apply_method(load_model(located_folder(base), torch.float32, family), method, Regularization(), 1, family).eval()
    located = located_folder(base)
    origin = Origin(located, load_tokenizer(located), provenance_of(located, torch.float32), "bot", torch.float32, family, TaskName.CHAT)
    probe = Probe.take(lambda **inputs: model(**inputs).logits, [[2, 20, 30, 3]], torch.float32, family)
    parameters = dict(model.named_parameters())
    [done] = export(TrainedTensors.of(model, parameters, 3), origin, [Export.ADAPTER], LocalFolder(tmp_path / "model"), probe)

    names = run_readme(Path(done.uri), monkeypatch)

    scores = model(**names["inputs"]).logits[0]
    torch.testing.assert_close(names["scores"], scores, rtol=1e-4, atol=1e-4)
    assert names["answer"] == CLASSES[int(scores.argmax())]
