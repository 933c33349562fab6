"""What a checkpoint keeps of a run comes back as it was; an interruption is no reason to end training next time."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from finetune.api.metrics import MetricName
from finetune.api.record import ModelProvenance
from finetune.api.sections import Precision
from trainer.augmentation.counts import AugmentedRows
from trainer.engine.lossscale import LossScale
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.metrics.base import Figure
from trainer.rank.ledger import Ledger
from trainer.rank.loading import Loaded
from trainer.rank.resuming import Start
from trainer.rank.state import RunState
from trainer.rank.training import state_at
from trainer.training.loop import Progress, StopReason

BASELINE = Measurement({MetricName.PERPLEXITY: Figure(3.0)})
PROVENANCE = ModelProvenance(name="m", source="hub", precision="float32", digest="sha256:0", revision="c" * 40)


def state_of(reason: StopReason | None, baseline: Measurement | None = BASELINE) -> RunState:
    ledger = Ledger()
    ledger.note(latest={MetricName.TRAIN_LOSS: 1.5})
    engine = SimpleNamespace(rank=0, world_size=2, model=torch.nn.Linear(1, 1), loss_scale=LossScale(512.0, 3))
    loaded = Loaded(cast(Any, engine), cast(Any, None), cast(Any, None), None, Precision.FLOAT32, PROVENANCE, padded_because=None)
    progress = Progress(total_steps=9, steps_per_epoch=3.0, step=4, tokens_seen=80, stop_reason=reason, repeated_steps=7)
    return state_at(progress, loaded, Start(ledger=ledger, varied=AugmentedRows(1, 9)), baseline)


@pytest.mark.parametrize(
    ("reason", "kept"), [(None, None), (StopReason.EARLY, StopReason.EARLY), (StopReason.INTERRUPTED, None)], ids=["none", "early", "asked"]
)
def test_a_run_that_was_interrupted_goes_on_and_one_that_stopped_early_does_not(reason: StopReason | None, kept: StopReason | None) -> None:
    read = RunState.from_wire(json.loads(json.dumps(state_of(reason).to_wire())))
    assert read.stop_reason is kept
    assert (read.loss_scale, read.repeated_steps) == ({"scale": 512.0, "goodSteps": 3}, 7)


def test_a_checkpoint_from_before_there_was_a_loss_scale_is_read() -> None:
    wire = state_of(None).to_wire()
    del wire["lossScale"], wire["repeatedSteps"]
    read = RunState.from_wire(wire)
    assert (read.step, read.loss_scale, read.repeated_steps) == (4, None, 0)


@pytest.mark.parametrize("baseline", [BASELINE, None], ids=["measured", "not yet measured"])
def test_a_state_comes_back_from_its_file_as_it_was(baseline: Measurement | None) -> None:
    written = state_of(None, baseline)
    read = RunState.from_wire(json.loads(json.dumps(written.to_wire())))
    assert read.to_wire() == written.to_wire()
    assert (read.step, read.tokens_seen, read.world_size, read.weights, read.dtype) == (4, 80, 2, "sha256:0", "float32")
    assert (read.varied, read.baseline) == (AugmentedRows(1, 9), baseline)
