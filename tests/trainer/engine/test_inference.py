"""A model that is only used is computed with, and never trained."""

import torch

from tests.trainer.fixtures.causal import random_prompts, tiny_model
from trainer.engine.inference import OneProcess

INPUT = torch.tensor(random_prompts([12]))


def test_one_process_computes_what_the_model_computes_and_keeps_no_graph() -> None:
    model = tiny_model()
    expected = model(INPUT).logits.detach()

    found = OneProcess(tiny_model().train(), torch.device("cpu")).forward(input_ids=INPUT)

    assert torch.equal(found, expected)
    assert not found.requires_grad


def test_one_process_is_all_ranks() -> None:
    alone = OneProcess(tiny_model(), torch.device("cpu"))

    assert (alone.rank, alone.world_size, alone.shards_parameters) == (0, 1, False)
    assert alone.sums_over_ranks([1.5, 2.0]) == [1.5, 2.0]
    assert alone.gather("own") == ["own"]
    assert alone.broadcast("own") == "own"
