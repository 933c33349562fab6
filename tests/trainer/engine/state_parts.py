"""One rank of the tests of states in parts: saves them, resumes from them, and takes over those of other stages and other ranks.

Started by test_state_parts.py as a program with RANK and WORLD_SIZE in the environment, for 2, 4 and 1 ranks in turn: each saves into
the folder of its argument what the next one reads. Not a test.
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from finetune.api.sections import Deepspeed, Offload
from trainer.engine.base import Engine, EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.deepspeed import DeepspeedEngine
from trainer.engine.hostmemory import HostMemory
from trainer.engine.optimizer import AdamW
from trainer.engine.state import EngineState
from trainer.storage.checkpoint import CheckpointStore
from trainer.storage.localfolder import LocalFolder
from trainer.storage.tensors import SavedTensors

VOCABULARY, STEPS = 61, 3
SHARDED = ["zero1", "zero2", "zero3", "zero1-bfloat16", "zero2-bfloat16", "zero3-bfloat16"]
OFFLOADED = ["zero1-bfloat16-offload", "zero2-bfloat16-offload", "zero3-bfloat16-offload"]
NEXT = dict(zip(SHARDED, SHARDED[1:] + SHARDED[:1], strict=True))
"""The engine that takes over the state of each one, on other ranks: of another stage, and twice of another precision."""


def new_engine(name: str, world_size: int) -> Engine:
    """Return an engine around a model of which four ranks cannot share a single tensor evenly, and two only some."""
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=10, intermediate_size=33, num_hidden_layers=2, num_attention_heads=1, num_key_value_heads=1,
        max_position_embeddings=64, tie_word_embeddings=True,
    )  # fmt: skip
    settings, model = EngineSettings(AdamW(0.1), 0.5, 1, 4 // world_size), LlamaForCausalLM(config).float()
    if name == "ddp":
        return DdpEngine(model, settings, torch.device("cpu"))
    stage = int(name[4])
    offload = Offload(optimizer=True, parameters=stage == 3) if name.endswith("offload") else None
    section = Deepspeed(zero_stage=stage, offload=offload)
    return DeepspeedEngine(model, section, settings, torch.device("cpu"), dtype=torch.bfloat16 if "bfloat16" in name else torch.float32)


def step(engine: Engine, number: int) -> torch.Tensor:
    """Do a training step on four rows and return the gradient's norm."""
    rows = torch.randint(1, VOCABULARY, (4, 9), generator=torch.Generator().manual_seed(number))[engine.rank :: engine.world_size]
    for index, row in enumerate(rows):
        last = index == len(rows) - 1
        with engine.accumulating(last):
            loss = torch.nn.functional.cross_entropy(engine.forward(input_ids=row[None])[0, :-1].float(), row[1:])
            engine.backward(loss * engine.world_size / 4, last=last)
    norm = engine.step(1e-2)
    assert norm is not None
    return norm


def save(engine: Engine, folder: Path) -> None:
    part = engine.part().kept(HostMemory(engine.part().elements).keep)
    CheckpointStore(LocalFolder(folder), "owner", 1).save_parts(part, engine.ranks_aside(), {}, step=1, attempt=1, score=None)


def saved(folder: Path) -> SavedTensors:
    return SavedTensors(folder / "checkpoints" / "step-1")


def equal(left: EngineState, right: EngineState) -> bool:
    pairs = [(left.groups()[group], right.groups()[group]) for group in right.groups()]
    return all(one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one) for one, other in pairs)


def resumes(name: str, world_size: int, folder: Path) -> dict[str, bool]:
    """Train three steps in one go, and two, parts taken to a new engine, and the third; return whether all bits agree."""
    unbroken = new_engine(name, world_size)
    for number in range(STEPS - 1):
        step(unbroken, number)
    save(unbroken, folder / f"{name}-{world_size}")
    before = unbroken.state()
    step(unbroken, STEPS - 1)
    resumed = new_engine(name, world_size)
    resumed.load_state(saved(folder / f"{name}-{world_size}"), STEPS - 1)
    reread = equal(resumed.state(), before)
    step(resumed, STEPS - 1)
    expected = unbroken.state()
    if unbroken.rank == 0:
        for group, tensors in before.groups().items():
            save_file(tensors, folder / f"{name}-{world_size}" / f"{group}.safetensors")
        assert not equal(before, expected), "the last step must change the weights"
    return {"reread": reread, "equal": equal(resumed.state(), expected)}


def trains_alike(name: str, world_size: int, folder: Path) -> dict[str, float]:
    """Return how far the gradient's norms are from those of the engine that offloads nothing, and take over its parts."""
    plain, offloaded = new_engine(name.removesuffix("-offload"), world_size), new_engine(name, world_size)
    apart = 0.0
    for number in range(STEPS):
        expected, found = float(step(plain, number)), float(step(offloaded, number))
        apart = max(apart, abs(found / expected - 1))
    offloaded.load_state(saved(folder / f"{name.removesuffix('-offload')}-{world_size}"), STEPS - 1)
    return {"apart": apart}


def reshards(name: str, world_size: int, folder: Path) -> dict[str, bool]:
    """Take over what two ranks have left to another stage and other ranks, and save that; return whether it is the same."""
    source = folder / f"{name}-2"
    expected = EngineState(
        load_file(source / "parameters.safetensors"), {slot: load_file(source / f"{slot}.safetensors") for slot in AdamW.slots}
    )
    if world_size == 1:
        alone = new_engine("ddp", 1)
        alone.load_state(saved(folder / f"{name}-4"), STEPS - 1)
        return {"ddp": equal(alone.state(), expected)}
    engine = new_engine(NEXT[name], world_size)
    engine.load_state(saved(source), STEPS - 1)
    save(engine, folder / f"{name}-{world_size}")
    state = engine.state()
    return {"state": equal(state, expected) if engine.rank == 0 else True}


def main() -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    output = Path(sys.argv[1])
    results = {}
    for name in SHARDED:
        found = resumes(name, world_size, output.parent) if world_size == 2 else reshards(name, world_size, output.parent)
        results[name] = found
    for name in OFFLOADED if world_size == 2 else ():
        results[name] = resumes(name, world_size, output.parent) | trains_alike(name, world_size, output.parent)
    if rank == 0:
        output.write_text(json.dumps(results))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
