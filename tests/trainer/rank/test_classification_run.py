"""Text classification from rows to a model that plain transformers loads in another process, on one rank and on two."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from finetune.api.sections import Export
from tests.trainer.engine.ranks import RANKS_SECONDS, fork_ranks
from tests.trainer.rank.classify_ranks import ENGINES, METHODS, config, prepare
from tests.trainer.rank.test_results import run
from trainer.export import ExportOptions, export_run

CLASSES = ["arrival", "charge", "limit"]
BOTH = ["adapter", "merged"]
RELOAD = """
import json, sys
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder, base, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
merged = AutoModelForSequenceClassification.from_pretrained(f"{folder}/merged").eval()
models, labels = [merged], merged.config
if base:
    names = dict(num_labels=labels.num_labels, id2label=labels.id2label, label2id=labels.label2id)
    models.append(PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained(base, **names), f"{folder}/adapter").eval())
tokenizer = AutoTokenizer.from_pretrained(f"{folder}/merged")
with torch.no_grad():
    found = [[model(**tokenizer(text, return_tensors="pt")).logits[0].tolist() for text in texts] for model in models]
print(json.dumps({"logits": found, "labels": [labels.id2label[number] for number in range(labels.num_labels)]}))
"""


def report_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


@pytest.mark.parametrize("several", [False, True], ids=["one label", "several labels"])
@pytest.mark.parametrize("method", METHODS)
def test_a_model_learns_the_classes_and_other_programs_give_its_logits(tmp_path: Path, method: str, several: bool) -> None:
    folder = prepare(tmp_path, several=several)
    forms = BOTH if method == "lora" else BOTH[1:]
    wanted = config(folder, method=METHODS[method], output__export=forms)
    wanted = wanted.model_copy(update={"training": wanted.training.model_copy(update={"max_steps": 160, "learning_rate": 0.003})})

    run(wanted)

    texts = ["180 card", "181 paid", "182 age"]
    base = str(folder / "base") if method == "lora" else ""
    command = [sys.executable, "-c", RELOAD, str(folder / "run" / "model"), base, json.dumps(texts)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["labels"] == CLASSES
    for other in found["logits"][1:]:
        torch.testing.assert_close(torch.tensor(other), torch.tensor(found["logits"][0]), rtol=1e-4, atol=1e-4)
    figures = report_of(folder / "run")["final"]
    if several:
        assert figures["microF1"]["value"] > 0.7
    else:
        assert torch.tensor(found["logits"][0]).argmax(dim=1).tolist() == [0, 1, 2]
        assert figures["accuracy"]["value"] == 1.0
    assert any("are new, because its weights have none" in warning for warning in report_of(folder / "run")["warnings"])


def test_a_run_in_bfloat16_exports_the_head_that_it_trained_in_float32(tmp_path: Path) -> None:
    folder = prepare(tmp_path)

    run(config(folder, method=METHODS["lora"], output__export=BOTH, training__precision="bfloat16"))

    adapter, merged = (load_file(next((folder / "run" / "model" / form).glob("*model.safetensors"))) for form in BOTH)
    trained = adapter["base_model.model.classifier.weight"]
    assert not torch.equal(trained, trained.bfloat16().float())
    assert torch.equal(merged["classifier.weight"], trained.bfloat16())
    assert [entry["dtype"] for entry in report_of(folder / "run")["exports"]] == ["float32", "bfloat16"]


def test_a_later_export_from_the_checkpoint_knows_the_classes(tmp_path: Path) -> None:
    folder = prepare(tmp_path)
    run(config(folder, method=METHODS["lora"], output__export=BOTH))
    for file in ("train", "validation", "test"):
        (folder / f"{file}.jsonl").unlink()
    (folder / "run" / ".finetune").mkdir(exist_ok=True)
    (folder / "run" / ".finetune" / "config.json").write_text(json.dumps(config(folder, method=METHODS["lora"]).to_wire()))

    export_run(ExportOptions(folder / "run", (Export.ADAPTER, Export.MERGED), folder / "again"), lambda _: None)

    texts = AutoTokenizer.from_pretrained(folder / "again" / "merged")(["1 card", "2 fee"], return_tensors="pt")
    models = [
        AutoModelForSequenceClassification.from_pretrained(place / "merged") for place in (folder / "again", folder / "run" / "model")
    ]
    one, other = (model(**texts).logits for model in models)
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert list(models[0].config.id2label.values()) == CLASSES


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return fork_ranks(Path(__file__).with_name("classify_ranks.py"), tmp_path_factory.mktemp("ranks"), [2])[2]


@pytest.mark.timeout(RANKS_SECONDS)
@pytest.mark.xdist_group("ranks")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("engine", ENGINES)
def test_two_ranks_train_the_same_new_head_under_every_engine(ranks: dict[str, Any], engine: str, method: str) -> None:
    found, expected = ranks[f"{method}-{engine}"], ranks[f"{method}-ddp"]

    torch.testing.assert_close(torch.tensor(found["classifier"]), torch.tensor(expected["classifier"]), rtol=1e-3, atol=1e-4)
    assert found["report"]["final"]["accuracy"] == expected["report"]["final"]["accuracy"]


@pytest.mark.timeout(RANKS_SECONDS)
@pytest.mark.xdist_group("ranks")
@pytest.mark.parametrize("engine", ENGINES)
def test_two_ranks_in_bfloat16_train_a_head_in_float32_under_every_engine(ranks: dict[str, Any], engine: str) -> None:
    found, exact = ranks[f"bfloat16-{engine}"], torch.tensor(ranks["lora-ddp"]["classifier"])

    trained = torch.tensor(found["trained"])
    assert not torch.equal(trained, trained.bfloat16().float())
    assert torch.equal(torch.tensor(found["classifier"]), trained.bfloat16().float())
    torch.testing.assert_close(trained, exact, rtol=0, atol=0.01)  # four steps of at most 0.005, of gradients whose small ones are rounded
    assert [entry["dtype"] for entry in found["report"]["exports"]] == ["float32", "bfloat16"]
