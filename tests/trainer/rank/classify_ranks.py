"""Runs of text classification that a tiny encoder learns: in this process, or as one of two ranks under each engine. Not a test.

Started by test_classification_run.py as a program with RANK and WORLD_SIZE in the environment.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from safetensors.torch import load_file

from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from tests.trainer.fixtures.encoders import save_encoder, word_tokenizer
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
    for place, (name, count) in enumerate(COUNTS.items()):
        lines = "".join(json.dumps(row) + "\n" for row in rows(count, 50 * place, several=several))
        (folder / f"{name}.jsonl").write_text(lines)
    return folder


def config(folder: Path, output: str = "run", **changes: Any) -> TrainConfig:
    """Return the configuration of a run in `folder`."""
    content = {
        "task": "text-classification",
        "model": {"path": str(folder / "base")},
        "data": {name: [{"path": str(folder / f"{name}.jsonl")}] for name in COUNTS},
        "method": METHODS["full"],
        "training": {"maxSteps": 40, "globalBatchSize": 8, "microBatchSize": 3, "learningRate": 0.005, "maxSequenceLength": 32},
        "evaluation": {"everySteps": 20},
        "checkpoint": {"everySteps": 20, "keep": 3},
        "output": {"directory": str(folder / output), "export": ["merged"]},
    }
    return train_config(folder, **(content | changes))


def main(output: Path) -> None:
    folder = output.parent
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    if torch.distributed.get_rank() == 0:
        prepare(folder)
    torch.distributed.barrier()
    found: dict[str, Any] = {}
    for method, how in METHODS.items():
        for engine, workers in ENGINES.items():
            name = f"{method}-{engine}"
            run(config(folder, name, method=how, workers=workers, training__maxSteps=4))
            torch.distributed.barrier()
            if torch.distributed.get_rank() == 0:
                report = json.loads((folder / name / "report.json").read_text())
                weights = load_file(folder / name / "model" / "merged" / "model.safetensors")
                found[name] = {"report": report, "classifier": weights["classifier.weight"].tolist()}
            torch.distributed.barrier()
    if torch.distributed.get_rank() == 0:
        output.write_text(json.dumps(found))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
