"""Runs of text classification that a tiny encoder learns: in this process, or as one of two ranks under each engine. Not a test.

Started by test_classification_run.py as a program with RANK and WORLD_SIZE in the environment.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch.distributed
from safetensors.torch import load_file

from finetune.api.trainconfig import TrainConfig
from tests.trainer.fixtures.encoders import save_encoder, word_tokenizer
from tests.trainer.rank.joined import config_in, joined, write_data
from tests.trainer.rank.test_results import run

WORDS = {"arrival": ["card", "come", "post"], "charge": ["fee", "twice", "paid"], "limit": ["age", "old", "child"]}
COUNTS = {"train": 48, "validation": 9, "test": 15}
ENGINES: dict[str, dict[str, Any]] = {
    "ddp": {"workers": 2}, "zero2": {"workers": 2, "deepspeed": {"zeroStage": 2}}, "zero3": {"workers": 2, "deepspeed": {"zeroStage": 3}},
}  # fmt: skip
METHODS = {"lora": {"lora": {"rank": 8, "alpha": 16}}, "full": {"full": {}}}


def rows(count: int, offset: int, *, several: bool) -> list[dict[str, Any]]:
    """Return distinct rows whose words say their class; with several labels, of one or two classes."""
    names = list(WORDS)
    made = []
    for number in range(offset, offset + count):
        chosen = [names[number % 3]] + ([names[(number + 1) % 3]] if several and number % 2 else [])
        words = [WORDS[name][(number // 3 + place) % 3] for place, name in enumerate(chosen)]
        made.append({"text": f"{number} {' '.join(words)}", "label": chosen if several else chosen[0]})
    return made


def prepare(folder: Path, *, several: bool = False, model_type: str = "bert") -> Path:
    """Write the base model and the rows; return the folder."""
    vocabulary = [*map(str, range(200)), *(word for words in WORDS.values() for word in words)]
    save_encoder(folder / "base", model_type=model_type, tokenizer=word_tokenizer(vocabulary), spread=0.05)
    write_data(folder, {name: rows(count, 50 * place, several=several) for place, (name, count) in enumerate(COUNTS.items())})
    return folder


def config(folder: Path, output: str = "run", **changes: Any) -> TrainConfig:
    """Return the configuration of a run in `folder`."""
    content = {
        "task": "text-classification",
        "training": {"maxSteps": 40, "globalBatchSize": 8, "microBatchSize": 3, "learningRate": 0.005, "maxSequenceLength": 32},
        "evaluation": {"everySteps": 20},
        "checkpoint": {"everySteps": 20, "keep": 3},
    }
    return config_in(folder, output, **(content | changes))


def main(output: Path) -> None:
    folder = output.parent
    found: dict[str, Any] = {}
    with joined(lambda: prepare(folder)) as first:
        cases = {f"{method}-{engine}": (how, ENGINES[engine], "float32") for method, how in METHODS.items() for engine in ENGINES}
        cases |= {f"bfloat16-{engine}": (METHODS["lora"], workers, "bfloat16") for engine, workers in ENGINES.items()}
        for name, (how, workers, precision) in cases.items():
            changes = {"output__export": ["adapter", "merged"]} if precision == "bfloat16" else {}
            run(config(folder, name, method=how, workers=workers, training__maxSteps=4, training__precision=precision, **changes))
            torch.distributed.barrier()
            if first:
                report = json.loads((folder / name / "report.json").read_text())
                weights = load_file(folder / name / "model" / "merged" / "model.safetensors")
                found[name] = {"report": report, "classifier": weights["classifier.weight"].tolist()}
                if precision == "bfloat16":
                    adapter = load_file(folder / name / "model" / "adapter" / "adapter_model.safetensors")
                    found[name]["trained"] = adapter["base_model.model.classifier.weight"].tolist()
            torch.distributed.barrier()
        if first:
            output.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
