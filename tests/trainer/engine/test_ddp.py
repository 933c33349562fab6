"""The engine of one process gives its weights away without copying what is whole already; ranks may choose different experts."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.trainer.engine.ranks import fork_ranks, run_ranks
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine, routes_to_experts
from trainer.engine.optimizer import AdamW


def test_the_parameters_alone_are_the_state_s_and_take_no_memory_of_their_own() -> None:
    taken = DdpEngine(nn.Linear(4, 3), EngineSettings(AdamW(0.0), 0.0, 1, 1), torch.device("cpu"))

    found = taken.parameters()

    assert {name: value.data_ptr() for name, value in found.items()} == {name: value.data_ptr() for name, value in taken.trainable()}
    assert all(torch.equal(found[name], value) for name, value in taken.state().parameters.items())
    assert not any(value.requires_grad for value in found.values())


@pytest.mark.parametrize(
    ("name", "routed"),
    [
        ("model.layers.0.mlp.experts.3.lora_A.weight", True),
        ("model.layers.0.mlp.experts.gate_up_proj", False),
        ("model.norm.weight", False),
    ],
)
def test_experts_that_are_modules_of_their_own_may_get_no_gradient(name: str, routed: bool) -> None:
    assert routes_to_experts([name]) is routed


def test_ranks_whose_tokens_choose_different_experts_train_as_one_does(tmp_path: Path) -> None:
    results = fork_ranks(Path(__file__).with_name("experts_program.py"), tmp_path, (1, 2))
    alone, together = results[1], results[2]
    assert together["norm"] == pytest.approx(alone["norm"], rel=1e-5)
    for name, values in alone["weights"].items():
        assert together["weights"][name] == pytest.approx(values, rel=1e-5), name


TEXTS_ALONE = """
import json, sys
import torch
from finetune.api.sections import FullMethod, Method, Regularization
from tests.trainer.fixtures.encoders import MASKED
from transformers import AutoModelForMaskedLM, NeoMMEConfig
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.model.lora import apply_method

torch.manual_seed(1)
sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
model = AutoModelForMaskedLM.from_config(NeoMMEConfig(vocab_size=30, head_dim=16, embedding_rank=8, **sizes))
before = {name: value.clone() for name, value in model.named_parameters()}
apply_method(model, Method(full=FullMethod()), Regularization(), seed=1, family=MASKED)
torch.distributed.init_process_group("gloo")
rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
engine = DdpEngine(model, EngineSettings(AdamW(0.1), 1.0, 1, 2 // world), torch.device("cpu"))
rows = torch.randint(7, 30, (2, 9), generator=torch.Generator().manual_seed(2))
for step in range(3):
    own = rows[rank::world]
    for index in range(len(own)):
        last = index == len(own) - 1
        with engine.accumulating(last):
            logits = engine.forward(input_ids=own[index : index + 1], attention_mask=torch.ones(1, 9, dtype=torch.long))
            engine.backward(logits.log_softmax(-1)[0, 3, 8].neg() * world / 2, last=last)
    norm = float(engine.step(0.01))
state = engine.state()
if rank == 0:
    weights = {name: float(value.abs().sum()) for name, value in state.parameters.items()}
    kept = sorted(name for name, value in model.named_parameters() if torch.equal(value, before[name]))
    searches = getattr(engine._wrapped, "find_unused_parameters", False)
    of_images = sorted(name for name in before if name.startswith("model.patch_embeddings."))
    found = {"norm": norm, "weights": weights, "kept": kept, "of_images": of_images, "searches": searches}
    open(sys.argv[1], "w").write(json.dumps(found))
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def test_a_model_of_texts_and_images_learns_texts_on_two_ranks_as_on_one_and_keeps_what_reads_images(tmp_path: Path) -> None:
    alone, together = (run_ranks(world_size, tmp_path / f"{world_size}.json", "-c", TEXTS_ALONE) for world_size in (1, 2))
    assert together["norm"] == pytest.approx(alone["norm"], rel=1e-4)
    assert together["weights"] == pytest.approx(alone["weights"], rel=1e-4)
    assert not together["searches"]
    for found in (alone, together):
        assert found["kept"] == found["of_images"] != []
        assert not found["weights"].keys() & set(found["of_images"])
