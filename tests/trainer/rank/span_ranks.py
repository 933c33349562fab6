"""Runs of question answering that a tiny encoder learns: in this process, or as one of two ranks. Not a test.

Started by test_span_run.py as a program with RANK and WORLD_SIZE in the environment.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

import torch.distributed

from finetune.api.trainconfig import TrainConfig
from tests.trainer.fixtures.encoders import SPECIAL, tiny_encoder
from tests.trainer.rank.joined import config_in, joined, write_data
from tests.trainer.rank.test_results import run

FILLERS, NUMBERS, COLORS = ([f"{letter}{number}" for number in range(6)] for letter in "wnc")
KINDS = {"number": NUMBERS, "color": COLORS}
COUNTS = {"train": 600, "validation": 20, "test": 41}
METHODS = {"lora": {"lora": {"rank": 16, "alpha": 32}}, "full": {"full": {}}}
LENGTH = 26
"""So that the longer texts need several windows."""


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Return questions for the number or the color in a text; in one text of six there is none."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        words = chance.choices(FILLERS, k=chance.randint(6, 40))
        kind = chance.choice(list(KINDS))
        for other, names in KINDS.items():
            if other != kind or number % 6:
                words.insert(chance.randrange(len(words) + 1), chance.choice(names))
        answers = [word for word in words if word in KINDS[kind]]
        starts = [len(" ".join([*words[: words.index(word)], ""])) for word in answers]
        made.append({"question": f"which {kind} ?", "context": " ".join(words), "answers": {"text": answers, "answer_start": starts}})
    return made


def pair_tokenizer() -> Any:
    """Return a fast tokenizer with a token per word, which writes pairs as BERT's does and says which text a token is of."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIAL, "which", "?", *KINDS, *FILLERS, *NUMBERS, *COLORS]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def prepare(folder: Path) -> Path:
    """Write the base model and the rows; return the folder."""
    tiny_encoder(spread=0.2).save_pretrained(folder / "base")
    pair_tokenizer().save_pretrained(folder / "base")
    write_data(folder, {name: rows(count, seed) for seed, (name, count) in enumerate(COUNTS.items())})
    return folder


def config(folder: Path, output: str = "run", **changes: Any) -> TrainConfig:
    """Return the configuration of a run in `folder`."""
    content = {
        "task": "question-answering",
        "training": {"maxSteps": 250, "globalBatchSize": 32, "microBatchSize": 32, "learningRate": 0.002, "maxSequenceLength": LENGTH},
        "evaluation": {"everySteps": 125},
        "checkpoint": {"everySteps": 250, "keep": 3},
    }
    return config_in(folder, output, **(content | changes))


def main(output: Path) -> None:
    folder = output.parent
    found: dict[str, Any] = {}
    with joined(lambda: prepare(folder)) as first:
        for stage in (None, 3):
            workers = {"workers": 2} | ({"deepspeed": {"zeroStage": stage}} if stage else {})
            name = f"stage-{stage}"
            run(config(folder, name, workers=workers, training__maxSteps=6, training__microBatchSize=8))
            torch.distributed.barrier()
            if first:
                found[name] = json.loads((folder / name / "report.json").read_text())
        if first:
            output.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
