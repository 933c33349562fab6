"""What programs share that train as one of several ranks, and the folder and configuration of their runs. Not a test."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed

from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config

NAMES = ("train", "validation", "test")


def write_data(folder: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write the rows of each data set."""
    for name, some in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))


def config_in(folder: Path, output: str, **changes: Any) -> TrainConfig:
    """Return the configuration of a run on the rows and the base model in `folder`, which trains all weights unless changed."""
    content = {
        "model": {"path": str(folder / "base")},
        "data": {name: [{"path": str(folder / f"{name}.jsonl")}] for name in NAMES},
        "method": {"full": {}},
        "output": {"directory": str(folder / output), "export": ["merged"]},
    }
    return train_config(folder, **(content | changes))


@contextmanager
def joined(prepare: Callable[[], object]) -> Iterator[bool]:
    """Join the other ranks once rank 0 has prepared what they share, and leave with them; says whether this is rank 0."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    first = torch.distributed.get_rank() == 0
    if first:
        prepare()
    torch.distributed.barrier()
    yield first
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
