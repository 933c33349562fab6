"""One rank of a training in which each micro-batch goes through another part of the model. Not a test.

Started by test_ddp.py as a program; rank 0 writes the weights and the gradient's norm to the file it is given.
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed
from torch import Tensor, nn

from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW


class Routed(nn.Module):
    """Four experts; none of the rows goes to the last one, and each micro-batch to one only."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.experts = nn.ModuleList(nn.Linear(3, 3) for _ in range(4))

    def forward(self, rows: Tensor, expert: int) -> Tensor:
        found: Tensor = self.experts[expert](rows)
        return found


def main() -> None:
    torch.distributed.init_process_group("gloo")
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    engine = DdpEngine(Routed(), EngineSettings(AdamW(0.1), 1.0, 1, 4 // world), torch.device("cpu"))
    norm = None
    for step in range(3):
        batches = [(torch.full((1, 3), 1.0 + number + step), number % 3) for number in range(4)][rank::world]
        for index, (rows, expert) in enumerate(batches):
            last = index == len(batches) - 1
            with engine.accumulating(last):
                engine.backward(engine._wrapped(rows, expert).square().sum() * world / 4, last=last)
        norm = engine.step(0.01)
    state = engine.state()
    if rank == 0:
        weights = {name: value.flatten().tolist() for name, value in state.parameters.items()}
        Path(sys.argv[1]).write_text(json.dumps({"norm": float(norm), "weights": weights}))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
