"""DeepSpeed is configured as the job says."""

from typing import Any

import pytest
import torch
from torch import nn

from finetune.api.errors import InputError
from finetune.api.sections import Deepspeed
from trainer.engine import deepspeed
from trainer.engine.base import EngineSettings
from trainer.engine.deepspeed import DeepspeedEngine, deepspeed_config
from trainer.engine.optimizer import AdamW


@pytest.mark.parametrize(("device", "pinned"), [("cpu", False), ("cuda", True)])
@pytest.mark.parametrize(
    ("offload", "sections"),
    [
        (None, set()),
        ({"optimizer": True}, {"offload_optimizer"}),
        ({"parameters": True}, {"offload_param"}),
        ({"optimizer": True, "parameters": True}, {"offload_optimizer", "offload_param"}),
    ],
)
def test_what_the_job_offloads_is_kept_on_the_host_and_page_locked_beside_a_gpu(
    offload: dict[str, bool] | None, sections: set[str], device: str, pinned: bool
) -> None:
    section, settings = Deepspeed.model_validate({"zeroStage": 3, "offload": offload}), EngineSettings(AdamW(0.0), 1.0, 1, 1)
    config = deepspeed_config(section, settings, torch.device(device), dtype=torch.bfloat16, world_size=1)
    found: dict[str, Any] = {name: value for name, value in config["zero_optimization"].items() if name.startswith("offload")}
    assert found == {key: {"device": "cpu", "pin_memory": pinned} for key in sections}


class Routed(nn.Module):
    def __init__(self, *, frozen: bool) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(1, 1) for _ in range(2)).requires_grad_(not frozen)


@pytest.mark.parametrize(
    ("stage", "offloaded", "model", "refused"),
    [
        pytest.param(1, True, Routed(frozen=False), True, id="stage 1"),
        pytest.param(2, True, Routed(frozen=False), True, id="stage 2"),
        pytest.param(2, False, Routed(frozen=False), False, id="nothing offloaded"),
        pytest.param(2, True, Routed(frozen=True), False, id="experts that are not trained"),
        pytest.param(3, True, Routed(frozen=False), False, id="stage 3"),
    ],
)
def test_an_optimizer_is_not_offloaded_where_an_expert_would_get_the_gradient_of_an_earlier_step(
    stage: int, offloaded: bool, model: nn.Module, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StartedError(Exception):
        """No refusal came before DeepSpeed was asked for anything."""

    def start(_: torch.device) -> None:
        raise StartedError

    monkeypatch.setattr(deepspeed, "start_deepspeed", start)
    section = Deepspeed.model_validate({"zeroStage": stage, "offload": {"optimizer": True} if offloaded else None})
    expected = (InputError, "experts that no token chose") if refused else (StartedError, None)
    with pytest.raises(expected[0], match=expected[1]):
        DeepspeedEngine(model, section, EngineSettings(AdamW(0.0), 1.0, 1, 1), torch.device("cpu"))
