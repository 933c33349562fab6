"""The lines of a reference's steps, in the form of the product's metrics.jsonl.

They are written at the end, so that writing disturbs no step; tokens are those that a rank really computed.
Test: tests/bench/test_references.py.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch.distributed

METRICS = "metrics.jsonl"


@dataclass
class _Step:
    time: str
    tokens: int
    loss: float


class Recorder:
    """Collects what one rank did in each step."""

    def __init__(self) -> None:
        self._steps: list[_Step] = []
        self._tokens = 0

    def count(self, tokens: int) -> None:
        """Add tokens, without padding, to the step that is under way."""
        self._tokens += tokens

    def end_step(self, loss: float) -> None:
        """Note the end of a step; `loss` is the mean over the tokens with loss of all ranks."""
        self._steps.append(_Step(datetime.now(UTC).isoformat(), self._tokens, loss))
        self._tokens = 0

    def write(self, folder: Path) -> None:
        """Write the file on rank 0; all ranks must call it, before the process group is gone."""
        tokens = [step.tokens for step in self._steps]
        if torch.distributed.is_initialized():
            of_ranks: list[list[int]] = [[] for _ in range(torch.distributed.get_world_size())]
            torch.distributed.all_gather_object(of_ranks, tokens)
            tokens = [sum(counts) for counts in zip(*of_ranks, strict=True)]
            if torch.distributed.get_rank() != 0:
                return
        seen = 0
        with (folder / METRICS).open("w") as stream:
            for number, (step, count) in enumerate(zip(self._steps, tokens, strict=True), start=1):
                seen += count
                stream.write(json.dumps({"step": number, "time": step.time, "trainLoss": step.loss, "tokensSeen": seen}) + "\n")
