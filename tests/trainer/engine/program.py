"""One rank of the engine tests: trains a tiny model through every engine and writes what it saw.

Started by test_invariance.py as a program, RANK and WORLD_SIZE in the environment; rank 0 writes to the file it is given.
"""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from unittest import mock

os.environ["DS_ACCELERATOR"] = "cpu"

import torch
import torch.distributed
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from finetune.api.sections import Deepspeed, LoraMethod, Method, Packing, Regularization, Scheduler, Training
from tests.trainer.fixtures.batches import forward_of, step_batches
from tests.trainer.fixtures.causal import tiny_tokenizer
from tests.trainer.fixtures.optimizers import Momentum
from tests.trainer.fixtures.stored import deal_rows
from trainer.data.rows import Sample
from trainer.engine import deepspeed
from trainer.engine.base import Engine, EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.deepspeed import DeepspeedEngine
from trainer.engine.lossscale import LossScale
from trainer.engine.optimizer import AdamW, Optimizer
from trainer.engine.state import EngineState
from trainer.evaluation.measuring.tokens import token_rows
from trainer.evaluation.metrics.likelihood import Perplexity
from trainer.evaluation.predictors import generate_over_ranks
from trainer.model.lora import adapters_off, apply_method
from trainer.model.loralinear import fuse_adapters
from trainer.model.packing import padded_because
from trainer.objectives.base import probed_forward
from trainer.objectives.causal import CAUSAL
from trainer.objectives.family import CAUSAL_LM
from trainer.objectives.penalties import Penalties
from trainer.training.batches import AtOnce
from trainer.training.figures import StepResult
from trainer.training.loop import Progress, Supervision, train

VOCABULARY, ROWS, STEPS = 61, 8, 3
ENGINES = ["ddp", "zero0", "zero1", "zero2", "zero3"]
SPLITS = [("ddp", micro) for micro in (1, 2, 4, 8)] + [(name, micro) for name in ENGINES[1:] for micro in (1, 4)]
"""Engines and micro-batches, whose gradients are those of the unsplit batch; other tests compare an engine's with two rows each."""
PACKED_MICRO_BATCHES = [2, 4]
BFLOAT16_MASTERS = ["zero1", "zero2", "zero3"]
"""Engines that hold the model in bfloat16 with float32 masters."""
TOO_LARGE = 2.0**22
"""A loss scale at which the gradient of the first step overflows float16."""
MANY = 128
SUMS = 200
ADAMW = AdamW(0.1)
UNEVEN = ROWS - 1
"""Rows of an evaluation: a number that neither two ranks nor any batch size but one divides."""
LABEL_SMOOTHING = 0.1
PENALTIES = Penalties(LABEL_SMOOTHING)
PROMPTS = [[5, 9, 21, 33, 8, 40, 7], [11, 3, 50], [2, 4, 6, 10, 12, 14, 16, 18, 20, 22], [59, 7, 7, 13], [30, 31, 32, 60, 1, 25]]
NEW_TOKENS = 6
COMPARED, COMPARED_TOKENS = 2, 3
"""Prompts whose answers are compared with those of the same model at another time, and the length of these answers."""
TRAINING = Training(max_steps=STEPS, global_batch_size=ROWS, micro_batch_size=1, learning_rate=1e-2, scheduler=Scheduler.CONSTANT,
                    warmup_ratio=0.0)  # fmt: skip


def rows_of_step(step: int) -> list[Sample]:
    """Return one global batch of ragged rows in which the share of loss tokens differs from row to row."""
    generator = torch.Generator().manual_seed(100 + step)
    rows = []
    for index in range(ROWS):
        length = 5 + 3 * index
        ids = tuple(torch.randint(1, VOCABULARY, (length,), generator=generator).tolist())
        first = 1 + (index * 2) % (length - 2)
        rows.append(Sample(f"row-{index}", ids, tuple(position >= first for position in range(length)), length, False, tail=0))
    return rows


def new_model(layers: int = 2) -> LlamaForCausalLM:
    torch.manual_seed(5)
    config = LlamaConfig(vocab_size=VOCABULARY, hidden_size=16, intermediate_size=32, num_hidden_layers=layers, num_attention_heads=2,
                         num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=False)  # fmt: skip
    return LlamaForCausalLM(config).float()


def adapted_model(*, fused: bool) -> nn.Module:
    """Return the model with adapters that act already."""
    model = apply_method(new_model(), Method(lora=LoraMethod(rank=4, alpha=8)), Regularization(), seed=6, family=CAUSAL_LM)
    torch.manual_seed(7)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    assert not fused or fuse_adapters(model) > 0
    return model


def new_engine(
    name: str,
    micro: int,
    world_size: int,
    *,
    dtype: torch.dtype = torch.float32,
    optimizer: Optimizer = ADAMW,
    model: nn.Module | None = None,
) -> Engine:
    settings = EngineSettings(optimizer, gradient_clipping=0.5, micro_batch_size=micro, micro_batches_per_step=ROWS // world_size // micro)
    device, model = torch.device("cpu"), new_model() if model is None else model
    if name == "ddp":
        return DdpEngine(model, settings, device, dtype=dtype)
    return DeepspeedEngine(model, Deepspeed(zero_stage=int(name[-1])), settings, device, dtype=dtype)


class Watch:
    """Looks at the gradients between the loop's last backward and its update, and at what the loop says of the step."""

    def __init__(self, engine: Engine) -> None:
        self.gradients: dict[str, list[float]] = {}
        self.results: list[StepResult] = []
        self._engine, self._update = engine, engine.step

    def __enter__(self) -> "Watch":
        setattr(self._engine, "step", self._look_and_update)  # noqa: B010 - mypy lets no method be assigned
        return self

    def __exit__(self, *_: object) -> None:
        setattr(self._engine, "step", self._update)  # noqa: B010

    def _look_and_update(self, learning_rate: float) -> Tensor:
        self.gradients = {name: value.flatten().tolist() for name, value in self._engine.full_gradients().items()}
        return self._update(learning_rate)


def one_step(engine: Engine, step: int, micro: int, *, packed: bool = False) -> dict[str, object]:
    """Have the loop do one optimizer step; return loss, gradients before clipping and the gradient norm."""
    progress = Progress(total_steps=step + 1, steps_per_epoch=1.0, step=step)
    batch = step_batches(rows_of_step(step), engine.rank, engine.world_size, micro, packed=packed)
    with Watch(engine) as watch:
        train(
            engine,
            forward_of(engine),
            CAUSAL,
            lambda _: batch,
            TRAINING,
            PENALTIES,
            progress,
            Supervision(watch.results.append),
        )
    [result] = watch.results
    return {"loss": result.train_loss, "gradients": watch.gradients, "norm": result.gradient_norm}


def base_after_training(name: str, micro: int, world_size: int, *, dtype: torch.dtype = torch.float32) -> dict[str, object]:
    """Measure a model with adapters, train them, and measure it with and without them; return the figures and what became of the rest."""
    method = Method(lora=LoraMethod(rank=4, dropout=0.1))
    model = apply_method(new_model().to(dtype), method, Regularization(dropout=0.2), 1, CAUSAL_LM)
    fuse_adapters(model)
    engine = new_engine(name, micro, world_size, dtype=dtype, model=model)

    def measured() -> list[object]:
        answers = generate_over_ranks(engine, tiny_tokenizer(), PROMPTS[:COMPARED], COMPARED_TOKENS, batch_size=1)
        return [
            token_rows(engine, forward_of(engine), CAUSAL, rows_of_step(0)[:UNEVEN], AtOnce(micro)).sums.nll_sum,
            [answer.text for answer in answers],
        ]

    before = measured()
    one_step(engine, 0, micro)
    tuned, trained = measured(), engine.state()
    with adapters_off(engine.model):
        base = measured()
    again = engine.state()
    kept = states_equal(trained, again) and measured() == tuned
    one_step(engine, 1, micro)
    final = engine.state()  # on every rank: gathering it is a collective
    moved = engine.rank != 0 or not states_equal(final, trained)
    return {"before": before, "base": base, "tuned": tuned, "kept": kept, "goes on": moved}


def overflows(name: str, micro: int, world_size: int) -> dict[str, object]:
    """Take a step in float16 at a scale too large for it; return its figures, and whether all is as if the scale had fitted at once."""

    def taken(scale: float) -> tuple[Engine, LossScale, dict[str, object]]:
        engine = new_engine(name, micro, world_size, dtype=torch.float16)
        assert engine.loss_scale is not None
        engine.loss_scale.scale = scale
        return engine, engine.loss_scale, one_step(engine, 0, micro)

    engine, found, figures = taken(TOO_LARGE)
    fitting, _, expected = taken(found.scale)
    state, wanted = engine.state(), fitting.state()  # on every rank: gathering it is a collective
    return {**figures, "alike": figures == expected and states_equal(state, wanted), "scale": found.scale}


class Late(DdpEngine):
    """An engine whose device computes while the host goes on."""

    asynchronous = True


def steps_until_stopped(kind: type[DdpEngine]) -> list[int]:
    """Train until rank 0 alone is asked to stop, in its second step; return the number of steps that each rank has done."""
    engine = kind(new_model(), EngineSettings(ADAMW, 0.5, micro_batch_size=2, micro_batches_per_step=1), torch.device("cpu"))
    progress = Progress(total_steps=9, steps_per_epoch=1.0)
    batch = step_batches(rows_of_step(0), engine.rank, engine.world_size, 2)

    def asked() -> bool:
        return engine.rank == 0 and progress.step >= 1

    train(engine, forward_of(engine), CAUSAL, lambda _: batch, TRAINING, Penalties(), progress, Supervision(asked_to_stop=asked))
    return list(engine.gather(progress.step))


def sums_of_two_threads(engine: Engine) -> dict[str, object]:
    """Add numbers over ranks in two threads at once, without an order between them; return the sums of each."""
    aside = engine.ranks_aside()
    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(lambda: [aside.sums([float(number)]) for number in range(SUMS)])
        own = [engine.sums_over_ranks([float(SUMS + number)]) for number in range(SUMS)]
        return {"aside": others.result(), "own": own}


def gradients_of_many(name: str, micro: int) -> Tensor:
    """Return the bfloat16 engine's gradient, as one vector, of 128 rows taken in micro-batches of `micro`."""
    rows = [replace(row, id=f"{step}-{row.id}") for step in range(MANY // ROWS) for row in rows_of_step(step)]
    settings = EngineSettings(AdamW(0.0), gradient_clipping=0.0, micro_batch_size=micro, micro_batches_per_step=MANY // micro)
    engine = DeepspeedEngine(new_model(layers=1), Deepspeed(zero_stage=int(name[-1])), settings, torch.device("cpu"), dtype=torch.bfloat16)
    batches = [CAUSAL.collate(dealt) for dealt in deal_rows(rows, 0, 1, micro)]
    forward, tokens = forward_of(engine), sum(batch.units for batch in batches)
    for index, batch in enumerate(batches):
        sums = CAUSAL.loss(forward, batch)
        engine.backward(sums.objective / tokens, last=index == len(batches) - 1)
    return torch.cat([value.flatten() for value in engine.full_gradients().values()])


def accumulation_error(name: str) -> float:
    """Return the relative difference between the gradients of single rows summed up and of few large micro-batches."""
    fine, coarse = gradients_of_many(name, 1), gradients_of_many(name, MANY // 4)
    return float((fine - coarse).norm() / coarse.norm())


def reduction_error(name: str) -> float:
    """Return the relative difference between the engine's gradient and the float32 mean of the ranks' own bfloat16 gradients."""
    settings = EngineSettings(AdamW(0.0), gradient_clipping=0.0, micro_batch_size=1, micro_batches_per_step=1)
    engine = DeepspeedEngine(new_model(), Deepspeed(zero_stage=int(name[-1])), settings, torch.device("cpu"), dtype=torch.bfloat16)
    batch, model = CAUSAL.collate([rows_of_step(0)[engine.rank]]), new_model().bfloat16()
    alone = probed_forward(model, lambda **inputs: model(**inputs).logits, CAUSAL_LM)
    CAUSAL.loss(alone, batch).objective.backward()
    engine.backward(CAUSAL.loss(forward_of(engine), batch).objective, last=True)
    found = torch.cat([value.flatten() for value in engine.full_gradients().values()])
    expected = torch.cat([parameter.grad.float().flatten() for parameter in model.parameters() if parameter.grad is not None])
    torch.distributed.all_reduce(expected)
    expected /= engine.world_size
    return float((found - expected).norm() / expected.norm())


def states_equal(left: EngineState, right: EngineState) -> bool:
    both = [(left.parameters, right.parameters), *((left.slots[slot], right.slots[slot]) for slot in left.slots)]
    return left.slots.keys() == right.slots.keys() and all(
        first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first) for first, second in both
    )


def resumes_exactly(
    name: str, micro: int, world_size: int, *, dtype: torch.dtype = torch.float32, optimizer: Optimizer = ADAMW
) -> dict[str, object]:
    """Train 3 steps in one go, and 2 steps, a state taken to a new engine, and the third; return whether all bits agree."""
    unbroken = new_engine(name, micro, world_size, dtype=dtype, optimizer=optimizer)
    saved = None
    for step in range(STEPS):
        one_step(unbroken, step, micro)
        if step == STEPS - 2:
            saved = unbroken.broadcast(unbroken.state())
    expected = unbroken.state()
    resumed = new_engine(name, micro, world_size, dtype=dtype, optimizer=optimizer)
    assert saved is not None
    resumed.load_state(saved, STEPS - 1)
    reread = resumed.state()
    alone = states_equal(EngineState(resumed.parameters()), EngineState(reread.parameters))
    one_step(resumed, STEPS - 1, micro)
    final = resumed.state()
    moved = not states_equal(EngineState(saved.parameters), EngineState(expected.parameters)) if unbroken.rank == 0 else True
    return {"reread": states_equal(reread, saved) if resumed.rank == 0 else True, "equal": states_equal(final, expected), "moved": moved,
            "alone": alone, "slots": sorted(saved.slots),
            "parameters": {name: value.flatten().tolist() for name, value in final.parameters.items()}}  # fmt: skip


def goes_on_elsewhere(name: str, micro: int, world_size: int, saved: EngineState) -> dict[str, object]:
    """Do the last step from a state that another engine and another number of ranks has left."""
    engine = new_engine(name, micro, world_size)
    engine.load_state(saved, STEPS - 1)
    one_step(engine, STEPS - 1, micro)
    return {"parameters": {key: value.flatten().tolist() for key, value in engine.state().parameters.items()}}


def exchange(folder: Path, saved: EngineState | None = None) -> EngineState:
    """Write a state to `folder`, or read the one that lies there."""
    if saved is not None:
        for part, values in {"parameters": saved.parameters, **saved.slots}.items():
            save_file(values, folder / f"{part}.safetensors")
        return saved
    slots = {slot: load_file(folder / f"{slot}.safetensors") for slot in AdamW.slots}
    return EngineState(load_file(folder / "parameters.safetensors"), slots)


def state_of_one_rank() -> EngineState:
    """Return the state of one process after all steps but the last."""
    engine = new_engine("ddp", 2, 1)
    for step in range(STEPS - 1):
        one_step(engine, step, 2)
    return engine.state()


def packed_figures(name: str, micro: int, world_size: int) -> tuple[dict[str, object], dict[str, object]]:
    """Return perplexity and the first step over packed rows."""
    engine = new_engine(name, micro, world_size)
    forward = forward_of(engine)
    assert padded_because(engine.model, forward.compute, forward.arguments, Packing.ALWAYS, engine.gather) is None
    found = token_rows(engine, forward_of(engine), CAUSAL, rows_of_step(0)[:UNEVEN], AtOnce(micro, packed=20 * micro))
    return {"value": Perplexity().compute(found).value}, one_step(engine, 0, micro, packed=True)


def main() -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    results: dict[str, object] = {}
    tokenizer = tiny_tokenizer()
    folder = Path(sys.argv[1]).parent
    saved = exchange(folder, state_of_one_rank()) if world_size == 1 else exchange(folder)
    for name in ENGINES:
        for micro in [micro for engine_name, micro in SPLITS if engine_name == name]:
            if micro * world_size <= ROWS:
                engine = new_engine(name, micro, world_size)
                found = token_rows(engine, forward_of(engine), CAUSAL, rows_of_step(0)[:UNEVEN], AtOnce(micro))
                results[f"perplexity/{name}/{micro}"] = {"value": Perplexity().compute(found).value}
                results[f"step/{name}/{micro}"] = one_step(engine, 0, micro)
        for kind, fused in (("step-peft", False), ("step-fused", True)):
            results[f"{kind}/{name}"] = one_step(new_engine(name, 2, world_size, model=adapted_model(fused=fused)), 0, 2)
        for micro in PACKED_MICRO_BATCHES:
            results[f"packed-perplexity/{name}/{micro}"], results[f"packed-step/{name}/{micro}"] = packed_figures(name, micro, world_size)
        answering = new_engine(name, 2, world_size)
        for count in (1, len(PROMPTS)):
            for engine_name, fits in [("zero3", True), ("zero3-sharded", False)] if name == "zero3" else [(name, True)]:
                with mock.patch.object(deepspeed, "has_room", return_value=fits):
                    answered = generate_over_ranks(answering, tokenizer, PROMPTS[:count], NEW_TOKENS, batch_size=2)
                results[f"answers/{engine_name}/{count}"] = {"texts": [answer.text for answer in answered]}
        results[f"elsewhere/{name}"] = goes_on_elsewhere(name, 2, world_size, saved)
        two_each = ROWS // world_size // 2  # rows of a micro-batch where a step has two of them
        results[f"resume/{name}"] = resumes_exactly(name, two_each, world_size)
        results[f"resume-bfloat16/{name}"] = resumes_exactly(name, two_each, world_size, dtype=torch.bfloat16)
        if name in ("ddp", "zero0") or torch.ops.mkldnn._is_mkldnn_fp16_supported():  # else not every stage computes in it on a CPU
            results[f"float16/{name}"] = overflows(name, 2, world_size)
            results[f"resume-float16/{name}"] = resumes_exactly(name, two_each, world_size, dtype=torch.float16)
        results[f"resume-momentum/{name}"] = resumes_exactly(name, two_each, world_size, optimizer=Momentum())
        results[f"base/{name}"] = base_after_training(name, two_each, world_size)
        results[f"base-bfloat16/{name}"] = base_after_training(name, two_each, world_size, dtype=torch.bfloat16)
        if world_size == 1 and name in BFLOAT16_MASTERS:
            results[f"accumulation/{name}"] = {"error": accumulation_error(name)}
        if world_size == 2 and name in BFLOAT16_MASTERS:
            results[f"reduction/{name}"] = {"error": reduction_error(name)}
    results["threads"] = sums_of_two_threads(new_engine("ddp", 2, world_size))
    results["stop"] = {"at once": steps_until_stopped(DdpEngine), "late": steps_until_stopped(Late)}
    if rank == 0:
        Path(sys.argv[1]).write_text(json.dumps(results))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
