"""One rank of the tests of methods: trains weak directions, partly frozen models and rates by layer through every engine.

Started by test_methods.py as a program, RANK and WORLD_SIZE in the environment; rank 0 writes to the file it is given.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["DS_ACCELERATOR"] = "cpu"

import torch
import torch.distributed
from torch import Tensor

from finetune.api.method import Freeze, OsfMethod
from finetune.api.sections import FullMethod, LoraMethod, Method, Regularization
from tests.trainer.engine.program import ROWS, new_engine, new_model, one_step, states_equal
from tests.trainer.fixtures.encoders import classes_family, tiny_encoder
from trainer.engine.base import Engine
from trainer.engine.optimizer import AdamW
from trainer.model.layers import depths
from trainer.model.lora import apply_method
from trainer.model.loralinear import fuse_adapters
from trainer.objectives.family import CAUSAL_LM

STEPS, MICRO = 2, 2
SMALL_STEPS, SMALL_RATE = 4, 1e-5
"""The rate is a hundredth of the distance of numbers of bfloat16 between 0.25 and 0.5, which the head's weights are about."""
ENGINES = ["ddp", "zero0", "zero1", "zero2", "zero3"]
DECAY = 0.5
METHODS: dict[str, tuple[Method, AdamW]] = {
    "osf": (Method(osf=OsfMethod(effective_rank=0.5)), AdamW(0.1)),
    "dora": (Method(lora=LoraMethod(rank=4, alpha=8, use_dora=True, use_rslora=True)), AdamW(0.1)),
    "frozen": (Method(full=FullMethod(freeze=Freeze(embeddings=True, layers=1))), AdamW(0.1)),
    "decay": (Method(full=FullMethod()), AdamW(0.1, DECAY, depths)),
}
WHOLE = {"osf", "dora"}
"""Methods that ZeRO stage 3 is refused for."""


def built(method: str) -> Any:
    """Return the model; adapters act already, so that their first factors have gradients too."""
    model = apply_method(new_model(), METHODS[method][0], Regularization(), seed=6, family=CAUSAL_LM)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    fuse_adapters(model)
    return model


def trained(name: str, method: str, world_size: int) -> dict[str, object]:
    """Train some steps; return the first step's figures, the parameters, whether a resume is exact, and what became of the rest."""
    optimizer = METHODS[method][1]

    def engine_with(model: Any) -> Engine:
        return new_engine(name, MICRO, world_size, optimizer=optimizer, model=model)

    model = built(method)
    before = {key: value.detach().clone() for key, value in model.named_parameters() if not value.requires_grad}
    engine, saved = engine_with(model), None
    first = one_step(engine, 0, MICRO)
    saved = engine.broadcast(engine.state())
    for step in range(1, STEPS):
        one_step(engine, step, MICRO)
    expected = engine.state()
    resumed = engine_with(built(method))
    resumed.load_state(saved, 1)
    for step in range(1, STEPS):
        one_step(resumed, step, MICRO)
    again = resumed.state()
    return {
        **first,
        "exact": states_equal(expected, again),
        "parameters": {key: value.flatten().tolist() for key, value in expected.parameters.items()},
        "names": sorted(saved.parameters),
        "kept": untouched(engine, before),
    }


def small_steps(name: str, world_size: int) -> dict[str, object]:
    """Train a new head beside adapters, computing in bfloat16, by steps that are lost where its weights are held in that too.

    Return how far each tensor has moved on average, in learning rates.
    """
    base = tiny_encoder("AutoModelForSequenceClassification", num_labels=3).bfloat16()
    model = apply_method(base, Method(lora=LoraMethod(rank=4)), Regularization(), seed=6, family=classes_family())
    engine, generator = new_engine(name, 1, world_size, optimizer=AdamW(0.0), dtype=torch.bfloat16, model=model), torch.Generator()
    before = engine.state()
    for _ in range(SMALL_STEPS):
        for left in reversed(range(ROWS // world_size)):
            ids = torch.randint(5, 200, (1, 9), generator=generator)
            with engine.accumulating(last=not left):
                engine.backward(engine.forward(input_ids=ids).float().square().sum(), last=not left)
        engine.step(SMALL_RATE)
    after = engine.state()
    apart = {key: after.parameters[key] - value for key, value in before.parameters.items()}
    return {"moved": {key: float(value.abs().mean()) / SMALL_RATE for key, value in apart.items()}}


def untouched(engine: Engine, before: dict[str, Tensor]) -> bool:
    """Return whether what is not trained is bit for bit as it was; under stage 3 it is gathered."""
    from contextlib import nullcontext

    context: Callable[[], Any] = nullcontext
    if engine.shards_parameters:
        from deepspeed.runtime.zero import GatheredParameters

        parameters = list(engine.model.parameters())
        context = lambda: GatheredParameters(parameters)  # noqa: E731
    with context():
        after = dict(engine.model.named_parameters())
        return all(torch.equal(after[name].detach(), value) for name, value in before.items())


def main() -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    results: dict[str, object] = {}
    for name in ENGINES:
        results[f"small/{name}"] = small_steps(name, world_size)
        for method in METHODS:
            if not (name == "zero3" and method in WHOLE):
                results[f"{method}/{name}"] = trained(name, method, world_size)
    if rank == 0:
        Path(sys.argv[1]).write_text(json.dumps(results))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
