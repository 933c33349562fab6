"""What a launcher gives a rank."""

import os

import pytest
import torch

from trainer.rank.launch import set_environment, use_threads


@pytest.mark.parametrize("gpu", [True, False])
def test_a_rank_finds_its_place_in_the_environment_and_deepspeed_computes_on_cpus_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, gpu: bool
) -> None:
    monkeypatch.setattr(os, "environ", {})
    set_environment(rank=5, world_size=8, local_rank=1, local_size=4, gpu=gpu)
    place = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}
    assert os.environ == place | ({} if gpu else {"DS_ACCELERATOR": "cpu"})


@pytest.mark.parametrize(("given", "used"), [("3", 3), (None, 1), ("0", 1)])
def test_a_rank_computes_with_the_threads_it_was_given(monkeypatch: pytest.MonkeyPatch, given: str | None, used: int) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(os, "environ", {} if given is None else {"OMP_NUM_THREADS": given})
    try:
        use_threads()
        assert torch.get_num_threads() == used
    finally:
        torch.set_num_threads(before)
