"""One rank of the engine tests of regularization: takes steps with penalties and noise through every engine and writes what it saw.

Started by test_regularization.py as a program, as program.py is by test_invariance.py; rank 0 writes to the file it is given.
"""

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

os.environ["DS_ACCELERATOR"] = "cpu"

import torch
import torch.distributed
from torch import nn

from finetune.api.sections import FullMethod, LoraMethod, Method, Packing, Regularization
from tests.trainer.engine.program import ROWS, TRAINING, Watch, new_engine, new_model, rows_of_step
from tests.trainer.fixtures.encoders import CLASSES, tiny_encoder
from tests.trainer.fixtures.stored import deal_rows
from trainer.data.rows import Sample
from trainer.engine.base import Engine
from trainer.engine.optimizer import AdamW
from trainer.model.lora import apply_method
from trainer.model.loralinear import fuse_adapters
from trainer.model.packing import padded_because
from trainer.model.recompute import recompute_activations
from trainer.model.untuned import as_base
from trainer.objectives.base import Objective, probed_forward
from trainer.objectives.causal import CAUSAL
from trainer.objectives.classification import ClassificationObjective
from trainer.objectives.family import CAUSAL_LM
from trainer.objectives.penalties import Penalties
from trainer.training.loop import Progress, StepBatches, Supervision, train

ENGINES = ["ddp", "zero0", "zero1", "zero2", "zero3"]
SPLITS = [("plain", "ddp", 1), ("plain", "zero3", 1), *(("plain", engine, 4) for engine in ENGINES)] + [
    (kind, engine, 2) for kind in ("packed", "recomputed") for engine in ("ddp", "zero3")
]
BASE_KL, SMOOTHING, ALPHA, NOISE = 0.7, 0.1, 1.3, 5.0
CHOOSING = ClassificationObjective(CLASSES)


def adapted_model(*, recomputed: bool = False, noise: float = 0.0) -> nn.Module:
    """Return the model with adapters that act already."""
    regularization = Regularization(neftuneNoiseAlpha=noise)
    adapted = apply_method(new_model(), Method(lora=LoraMethod(rank=4, alpha=8)), regularization, seed=6, family=CAUSAL_LM)
    torch.manual_seed(7)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    fuse_adapters(adapted)
    return recompute_activations(adapted) if recomputed else adapted


def choosing_model() -> nn.Module:
    """Return an encoder all of whose weights are trained, without dropout, so that both passes of a row are the same."""
    settings = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, **CHOOSING.family.settings}
    model = tiny_encoder(CHOOSING.family.auto_class, **settings)
    return apply_method(model, Method(full=FullMethod()), Regularization(), 1, CHOOSING.family)


def choosing_rows() -> list[Sample]:
    texts = [[2, *(10 + 3 * place + index for place in range(1 + index)), 3] for index in range(ROWS)]
    return [
        Sample(f"row-{index}", [*text, index % len(CLASSES)], [0] * len(text) + [1], 0, truncated=False, tail=1)
        for index, text in enumerate(texts)
    ]


def one_step(engine: Engine, objective: Objective[Any], rows: list[Sample], micro: int, penalties: Penalties, *,
             packed: bool = False) -> dict[str, Any]:  # fmt: skip
    """Have the loop do one optimizer step; return its loss and the gradients before clipping."""
    dealt = deal_rows(rows, engine.rank, engine.world_size, micro, packed=packed)
    units, tokens = sum(sum(row.loss_mask) for row in rows), sum(len(row.input_ids) for row in rows)
    batch = StepBatches([objective.collate(of_batch, packed=packed) for of_batch in dealt], units, tokens)
    forward, results = probed_forward(engine.model, engine.forward, objective.family), []
    if packed:
        assert padded_because(engine.model, forward.compute, forward.arguments, Packing.ALWAYS, engine.gather) is None
    with Watch(engine) as watch:
        train(engine, forward, objective, lambda _: batch, TRAINING, penalties, Progress(1, 1.0), Supervision(results.append))
    return {"loss": results[0].train_loss, "gradients": watch.gradients}


def decayed(name: str, world: int) -> dict[str, float]:
    """Take a step without a gradient; return what is left of each parameter, as a share."""
    engine = new_engine(name, ROWS // world, world, optimizer=AdamW(0.5), model=new_model())
    before = {key: value.clone() for key, value in engine.parameters().items()}
    with engine.accumulating(last=True):
        engine.backward(0.0 * engine.forward(input_ids=torch.tensor([[3, 4, 5]])).sum(), last=True)
    engine.step(0.1)
    after = engine.parameters()  # on rank 0
    return {key: float(value.norm() / before[key].norm()) for key, value in after.items()}


def main() -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    results: dict[str, Any] = {}
    for kind, name, micro in SPLITS:
        engine = new_engine(name, micro, world, model=adapted_model(recomputed=kind == "recomputed"))
        pulled = Penalties(SMOOTHING, base_kl_weight=BASE_KL, as_base=partial(as_base, engine.model))
        results[f"base/{kind}/{name}/{micro}"] = one_step(engine, CAUSAL, rows_of_step(0), micro, pulled, packed=kind == "packed")
    for name in ENGINES:
        engine = new_engine(name, 2, world, model=choosing_model())
        results[f"twice/{name}"] = one_step(engine, CHOOSING, choosing_rows(), 2, Penalties(r_drop_alpha=ALPHA))
        results[f"decay/{name}"] = decayed(name, world)
        for recomputed in (False, True):
            noisy = new_engine(name, 2, world, model=adapted_model(noise=NOISE, recomputed=recomputed))
            results[f"noise/{name}/{recomputed}"] = one_step(noisy, CAUSAL, rows_of_step(0), 2, Penalties())
    if rank == 0:
        Path(sys.argv[1]).write_text(json.dumps(results))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
