"""Trains a tiny model on the device as a rank does, without Ray, for the tests beside it.

FINETUNE_TEST_DEVICE=cpu runs them on the CPU: that shows that the tests themselves work.
"""

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch.distributed

from bench.figures import lines_of
from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from tests.trainer.fixtures.stored import data_folder
from trainer.preflight.inputs import check_inputs
from trainer.rank.assignment import Assignment
from trainer.rank.run import execute
from trainer.storage.ownership import Ownership

DEVICE = os.environ.get("FINETUNE_TEST_DEVICE", "cuda")
ON_DEVICE = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
NEEDS_FLOAT16 = pytest.mark.skipif(
    DEVICE == "cpu" and not torch.ops.mkldnn._is_mkldnn_fp16_supported(), reason="DeepSpeed cannot compute in float16 on this CPU"
)
STEPS = 6


@contextmanager
def one_rank() -> Iterator[None]:
    """Be the only rank of a process group, in the environment that a launcher sets."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.MonkeyPatch.context() as environment:
        if DEVICE == "cpu":
            environment.setenv("DS_ACCELERATOR", "cpu")
        for name in ("RANK", "LOCAL_RANK"):
            environment.setenv(name, "0")
        for name in ("WORLD_SIZE", "LOCAL_SIZE", "LOCAL_WORLD_SIZE"):
            environment.setenv(name, "1")
        environment.setenv("MASTER_ADDR", "127.0.0.1")
        environment.setenv("MASTER_PORT", str(port))
        torch.distributed.init_process_group("nccl" if DEVICE == "cuda" else "gloo")
        yield
        # DeepSpeed keeps groups of its own, which end with those of torch; it has to be the one that ends them.
        (sys.modules.get("deepspeed.comm") or torch.distributed).destroy_process_group()


class Sent:
    """The driver's end: keeps what is reported, and asks to stop after a step if it is told to."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.fields: dict[str, Any] = {}
        self._stop_after = stop_after

    def send(self, **fields: Any) -> None:
        self.fields |= fields

    def stop_requested(self, wait_seconds: float = 0.0) -> bool:
        done = self.fields.get("progress")
        return self._stop_after is not None and done is not None and done.step >= self._stop_after


def config(base: Path, output: Path, device: str = DEVICE, *, precision: str = "float32", zero_stage: int | None = None, full: bool = False,
           offload: dict[str, bool] | None = None, quantization: dict[str, Any] | None = None, export: Sequence[str] = (),
           **training: Any) -> TrainConfig:  # fmt: skip
    """Return a job of a few steps on the tiny model in `base`."""
    workers: dict[str, Any] = {"workers": 1, "gpusPerWorker": 1 if device == "cuda" else 0}
    if zero_stage is not None:
        workers["deepspeed"] = {"zeroStage": zero_stage, "offload": offload}
    settings = {
        "maxSteps": STEPS, "globalBatchSize": 8, "microBatchSize": 4, "learningRate": 0.01, "maxSequenceLength": 128,
        "precision": precision,
    }  # fmt: skip
    lora = {"rank": 4, "alpha": 8, "quantization": quantization}
    return train_config(
        base, method={"full": {}} if full else {"lora": lora}, training=settings | training, workers=workers,
        checkpoint={"everySteps": 2, "keep": 3}, output={"directory": str(output), "export": export or ["merged" if full else "adapter"]},
    )  # fmt: skip


def train(wanted: TrainConfig, sent: Sent | None = None) -> list[dict[str, Any]]:
    """Train, or go on from the newest checkpoint, and return the lines of the steps."""
    output = Path(wanted.output.directory)
    data = data_folder(output / ".data")
    inputs = check_inputs(wanted, data, rehearse_here=True).with_tokens(wanted, data)
    ownership = Ownership.of(wanted, inputs.digests(wanted))
    ownership.write(finished=False)
    execute(Assignment(wanted, inputs, ownership.owner, sent or Sent()))
    return lines_of(output / "metrics.jsonl")


def losses(lines: list[dict[str, Any]]) -> list[float]:
    """Return the loss of each step."""
    return [line["trainLoss"] for line in lines]
