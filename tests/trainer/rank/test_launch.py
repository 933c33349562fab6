"""What a launcher gives a rank."""

import gc
import os
import weakref

import pytest
import torch

from trainer.rank.launch import collect_as_usual, collect_rarely, set_environment, use_threads


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


class Cycle:
    """Garbage that only a collection finds."""

    def __init__(self) -> None:
        self.itself = self


def test_garbage_is_looked_for_rarely_until_a_rank_is_loaded_and_then_as_before() -> None:
    before = gc.get_threshold()
    try:
        collect_as_usual()
        assert gc.get_freeze_count() == 0
        collect_rarely()
        assert gc.isenabled()
        assert gc.get_threshold()[0] > before[0]
        garbage = weakref.ref(Cycle())
        collect_as_usual()
        assert garbage() is None, "frozen garbage stays to the end"
        assert gc.get_threshold() == before
        assert gc.get_freeze_count() > 0
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
