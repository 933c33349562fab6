"""One rank of the test of sharded models: loads one under ZeRO-3, gives it an adapter that acts, answers prompts, exports, differentiates.

Started by test_sharded.py with RANK and WORLD_SIZE in the environment and an output: the model is beside it, in `base`, and so is
what it writes, such as its answers, to answers-RANK.json.
"""

import json
import os
import sys
from pathlib import Path

os.environ["DS_ACCELERATOR"] = "cpu"

import deepspeed
import torch
import torch.distributed
from safetensors.torch import save_file

from finetune.api.sections import Export
from finetune.api.tasks import TaskName
from tests.builders import train_config
from tests.trainer.fixtures.causal import located_folder, random_prompts
from trainer.engine.factory import build_engine
from trainer.evaluation.generation import generate
from trainer.model.beside import Origin
from trainer.model.exporter import TrainedTensors, export
from trainer.model.load import provenance_of
from trainer.model.tokenizer import load_tokenizer
from trainer.model.verification import Probe
from trainer.objectives.family import CAUSAL_LM
from trainer.rank.loading import trainable_model
from trainer.storage.localfolder import LocalFolder

# Rank 0's answers end at other lengths than rank 1's, and its batches have other widths.
PROMPTS = {0: random_prompts([3, 17, 5], seed=1), 1: random_prompts([9, 4, 30], seed=2)}
NEW_TOKENS = 16
STOPS = 160
"""Half of the vocabulary ends an answer, so that rows and ranks stop at different steps."""


def main(output: Path) -> None:
    folder = output.parent
    torch.distributed.init_process_group("gloo")
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # it would be compiled here
    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    rank = torch.distributed.get_rank()
    config = train_config(
        training__seed=1,
        workers={"workers": 2, "deepspeed": {"zeroStage": 3}},
        output={"directory": str(folder), "export": ["adapter", "merged"]},
    )
    located = located_folder(folder / "base")
    tokenizer = load_tokenizer(located)
    device = torch.device("cpu")
    engine = build_engine(config, lambda: trainable_model(config, CAUSAL_LM, located, torch.float32, device)[0], device)
    state = engine.broadcast(engine.state())
    generator = torch.Generator().manual_seed(4)
    for parameter in state.parameters.values():
        parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    engine.load_parameters(state)
    engine.model.generation_config.eos_token_id = list(range(STOPS))
    answers = [answer.text for answer in generate(engine.model, tokenizer, PROMPTS[rank], NEW_TOKENS, batch_size=2, synced=True)]
    gathered = engine.parameters()
    sizes = {parameter.numel() for name, parameter in engine.model.named_parameters() if "embed_tokens" in name}
    engine.model.eval()
    probe = Probe.take(engine.forward, random_prompts([12, 20], seed=5), torch.float32, CAUSAL_LM)
    if rank == 0:
        origin = Origin(located, tokenizer, provenance_of(located, torch.float32), "sharded", torch.float32, CAUSAL_LM, TaskName.CHAT)
        export(TrainedTensors.of(engine.model, gathered, step=1), origin, [Export.ADAPTER, Export.MERGED], LocalFolder(folder), probe)
        output.write_text(json.dumps(sorted(sizes)))
    engine.model.train()
    engine.backward(engine.forward(input_ids=torch.tensor(PROMPTS[0][1:2]), use_cache=False).logsumexp(dim=-1).sum(), last=True)
    gradients = engine.full_gradients()
    if rank == 0:
        save_file(gradients, folder / "gradients.safetensors")
    (folder / f"answers-{rank}.json").write_text(json.dumps(answers))
    engine.broadcast(None)
    engine.wait_for_all()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
