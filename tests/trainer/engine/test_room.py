"""Whether there is memory for something."""

import pytest
import torch

from trainer.engine import room
from trainer.engine.room import has_room

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("trains_on", "available", "other", "fits"),
    [
        pytest.param(CPU, 4_100, ("elsewhere", 9_000, 9_000), True, id="the copy and what the next step needs again"),
        pytest.param(CPU, 4_099, ("elsewhere", 9_000, 9_000), False, id="a byte less"),
        pytest.param(GPU, 4_000, ("elsewhere", 9_000, 9_000), True, id="a step on a GPU needs none"),
        pytest.param(CPU, 9_000, ("elsewhere", 9_000, 8_999), False, id="another rank has too little"),
        pytest.param(CPU, 6_100, ("here", 2_000, 6_100), True, id="with another rank on the machine"),
        pytest.param(CPU, 6_099, ("here", 2_000, 6_100), False, id="a byte less than both need"),
        pytest.param(CPU, None, ("elsewhere", 9_000, None), True, id="unknown"),
    ],
)
def test_there_is_room_if_the_next_step_of_all_ranks_on_a_machine_still_fits(
    monkeypatch: pytest.MonkeyPatch, trains_on: torch.device, available: int | None, other: tuple[str, int, int | None], fits: bool
) -> None:
    monkeypatch.setattr(room, "available_bytes", lambda: available)
    monkeypatch.setattr(room, "freed_since_peak_bytes", lambda: 100)
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    assert has_room(4_000, CPU, lambda own: [own, other], trains_on=trains_on) is fits
