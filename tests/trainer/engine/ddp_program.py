"""One rank of trainings in which parts of the model get no gradient: experts by turns, and what reads images. Not a test.

Started by test_ddp.py as a program; rank 0 writes what it saw to the file it is given.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, NeoMMEConfig

from finetune.api.sections import FullMethod, Method, Regularization
from tests.trainer.fixtures.encoders import MASKED
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.model.lora import apply_method


class Routed(nn.Module):
    """Four experts; none of the rows goes to the last one, and each micro-batch to one only."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.experts = nn.ModuleList(nn.Linear(3, 3) for _ in range(4))

    def forward(self, rows: Tensor, expert: int) -> Tensor:
        found: Tensor = self.experts[expert](rows)
        return found


def by_experts(rank: int, world: int) -> dict[str, Any]:
    engine = DdpEngine(Routed(), EngineSettings(AdamW(0.1), 1.0, 1, 4 // world), torch.device("cpu"))
    norm = None
    for step in range(3):
        batches = [(torch.full((1, 3), 1.0 + number + step), number % 3) for number in range(4)][rank::world]
        for index, (rows, expert) in enumerate(batches):
            last = index == len(batches) - 1
            with engine.accumulating(last):
                engine.backward(engine._wrapped(rows, expert).square().sum() * world / 4, last=last)
        norm = engine.step(0.01)
    assert norm is not None
    return {"norm": float(norm), "weights": {name: value.flatten().tolist() for name, value in engine.state().parameters.items()}}


def by_texts_alone(rank: int, world: int) -> dict[str, Any]:
    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    model = AutoModelForMaskedLM.from_config(NeoMMEConfig(vocab_size=30, head_dim=16, embedding_rank=8, **sizes))
    before = {name: value.clone() for name, value in model.named_parameters()}
    apply_method(model, Method(full=FullMethod()), Regularization(), seed=1, family=MASKED)
    engine = DdpEngine(model, EngineSettings(AdamW(0.1), 1.0, 1, 2 // world), torch.device("cpu"))
    rows = torch.randint(7, 30, (2, 9), generator=torch.Generator().manual_seed(2))
    norm = None
    for _ in range(3):
        own = rows[rank::world]
        for index in range(len(own)):
            last = index == len(own) - 1
            with engine.accumulating(last):
                logits = engine.forward(input_ids=own[index : index + 1], attention_mask=torch.ones(1, 9, dtype=torch.long))
                engine.backward(logits.log_softmax(-1)[0, 3, 8].neg() * world / 2, last=last)
        norm = engine.step(0.01)
    assert norm is not None
    return {
        "norm": float(norm),
        "weights": {name: float(value.abs().sum()) for name, value in engine.state().parameters.items()},
        "kept": sorted(name for name, value in model.named_parameters() if torch.equal(value, before[name])),
        "of_images": sorted(name for name in before if name.startswith("model.patch_embeddings.")),
        "searches": getattr(engine._wrapped, "find_unused_parameters", False),
    }


def main() -> None:
    torch.distributed.init_process_group("gloo")
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    results = {"experts": by_experts(rank, world), "texts": by_texts_alone(rank, world)}
    if rank == 0:
        Path(sys.argv[1]).write_text(json.dumps(results))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
