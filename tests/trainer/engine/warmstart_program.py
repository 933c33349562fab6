"""One rank of a training of an encoder-decoder that was made of two encoders. Not a test.

Started by test_warmstart.py as a program; rank 0 writes the losses to the file it is given.
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed

from finetune.api.sections import FullMethod, LoraMethod, Method, Regularization
from tests.trainer.engine.program import new_engine
from tests.trainer.engine.seq2seq_program import WORDS, steps
from tests.trainer.fixtures.seq2seq import warm_start, word_tokenizer
from trainer.model.lora import apply_method
from trainer.objectives.seq2seq import SEQ2SEQ_LM

METHODS = {"full": Method(full=FullMethod()), "lora": Method(lora=LoraMethod(rank=2, alpha=4))}
ENGINES = ["ddp", "zero3"]
STEPS = 3


def main() -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    losses = {}
    for name, method in METHODS.items():
        for engine in ENGINES:
            model = apply_method(warm_start(len(word_tokenizer(WORDS))), method, Regularization(), seed=1, family=SEQ2SEQ_LM)
            losses[f"{name}/{engine}"] = steps(new_engine(engine, 2, world, model=model), 2, STEPS)["losses"]
    if rank == 0:
        Path(sys.argv[1]).write_text(json.dumps(losses))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
