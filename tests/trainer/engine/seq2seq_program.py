"""One rank of the engine tests of encoder-decoders: trains tiny ones through every engine and writes what it saw.

Started by test_seq2seq.py as a program, as program.py is by test_invariance.py; rank 0 writes to the file it is given.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["DS_ACCELERATOR"] = "cpu"

import torch
import torch.distributed
from torch import nn

from finetune.api.sections import FullMethod, LoraMethod, Method, Regularization, Scheduler, Training
from tests.trainer.engine.program import PENALTIES, ROWS, Watch, new_engine
from tests.trainer.fixtures.seq2seq import END, KINDS, tiny_seq2seq, warm_start, word_tokenizer
from tests.trainer.fixtures.stored import deal_rows
from trainer.data.rows import Sample
from trainer.engine.base import Engine
from trainer.evaluation.measuring.tokens import token_rows
from trainer.evaluation.predictors import generate_over_ranks
from trainer.model.lora import apply_method
from trainer.objectives.base import Forward, probed_forward
from trainer.objectives.seq2seq import SEQ2SEQ, SEQ2SEQ_LM
from trainer.training.batches import AtOnce
from trainer.training.loop import Progress, StepBatches, Supervision, train

ENGINES = ["ddp", "zero1", "zero2", "zero3"]
SPLITS = [("t5", engine, micro) for engine in ENGINES for micro in (1, 4)] + [
    (kind, engine, 2) for kind in ("bart", "marian") for engine in ENGINES
]
WORDS = [f"w{number}" for number in range(40)]
UNEVEN = ROWS - 1
NEW_TOKENS, STEPS = 6, 20
METHODS = {"full": Method(full=FullMethod()), "lora": Method(lora=LoraMethod(rank=2, alpha=4))}
WARM_ENGINES = ["ddp", "zero3"]
WARM_STEPS = 3
PROMPTS = [[5, 9, 21, 33, 8, END], [11, 3, END], [40, 6, 10, 12, 14, 16, 18, 20, END], [39, 7, 7, END], [30, 31, END]]
FIRSTS = [3, 4, 5, 6, 7]


def rows() -> list[Sample]:
    """Return a global batch whose sources and targets have lengths of their own."""
    generator = torch.Generator().manual_seed(31)
    found = []
    for index in range(ROWS):
        source, target = 3 + (5 * index) % 11, 1 + (3 * index) % 7
        ids = torch.randint(3, 43, (source + target,), generator=generator).tolist()
        ids[source - 1] = ids[-1] = END
        found.append(Sample(f"row-{index}", ids, [0] * source + [1] * target, target, False, tail=target))
    return found


def new_model(kind: str, *, adapted: bool = False) -> nn.Module:
    """Return a tiny model, all of whose weights are trained, or adapters that act already."""
    model = tiny_seq2seq(kind, len(word_tokenizer(WORDS)), layers=1, width=16)
    method = Method(lora=LoraMethod(rank=4, alpha=8)) if adapted else Method(full=FullMethod())
    found = apply_method(model, method, Regularization(), seed=6, family=SEQ2SEQ_LM)
    torch.manual_seed(7)
    for name, parameter in found.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    return found


def forward_of(engine: Engine) -> Forward:
    return probed_forward(engine.model, engine.forward, SEQ2SEQ_LM)


def steps(engine: Engine, micro: int, count: int = 1) -> dict[str, Any]:
    """Have the loop do some steps on the same rows; return the losses, and the last gradients and norm."""
    dealt = deal_rows(rows(), engine.rank, engine.world_size, micro)
    batch = StepBatches(
        [SEQ2SEQ.collate(of_batch) for of_batch in dealt],
        sum(sum(row.loss_mask) for row in rows()),
        sum(len(row.input_ids) for row in rows()),
    )
    training = Training(max_steps=count, global_batch_size=ROWS, micro_batch_size=micro, learning_rate=1e-2, scheduler=Scheduler.CONSTANT,
                        warmup_ratio=0.0)  # fmt: skip
    results: list[Any] = []
    with Watch(engine) as watch:
        progress = Progress(total_steps=count, steps_per_epoch=1.0)
        train(
            engine,
            forward_of(engine),
            SEQ2SEQ,
            lambda _: batch,
            training,
            PENALTIES,
            progress,
            Supervision(results.append),
        )
    return {"losses": [found.train_loss for found in results], "gradients": watch.gradients, "norm": results[-1].gradient_norm}


def answers(engine: Engine) -> list[str]:
    found = generate_over_ranks(engine, word_tokenizer(WORDS), PROMPTS, NEW_TOKENS, batch_size=2, firsts=FIRSTS)
    return [answer.text for answer in found]


def main() -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    results: dict[str, Any] = {}
    for kind, name, micro in SPLITS:
        engine = new_engine(name, micro, world, model=new_model(kind))
        measured = token_rows(engine, forward_of(engine), SEQ2SEQ, rows()[:UNEVEN], AtOnce(micro))
        results[f"nll/{kind}/{name}/{micro}"] = measured.sums.nll_sum
        results[f"step/{kind}/{name}/{micro}"] = steps(engine, micro)
    for name in ENGINES:
        results[f"answers/{name}"] = answers(new_engine(name, 2, world, model=new_model("t5")))
        results[f"adapters/{name}"] = steps(new_engine(name, 2, world, model=new_model("t5", adapted=True)), 2)
    results["run"] = {kind: steps(new_engine("zero2", 2, world, model=new_model(kind)), 2, STEPS)["losses"] for kind in KINDS}
    for method, how in METHODS.items():
        for name in WARM_ENGINES:
            model = apply_method(warm_start(len(word_tokenizer(WORDS))), how, Regularization(), seed=1, family=SEQ2SEQ_LM)
            losses = steps(new_engine(name, 2, world, model=model), 2, WARM_STEPS)["losses"]
            results[f"warm start/{method}/{name}"] = losses
    if rank == 0:
        Path(sys.argv[1]).write_text(json.dumps(results))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
