"""The state of a run that a checkpoint stores besides tensors, written and read in one place.

Pure. Test: tests/trainer/rank/test_state.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune.api.earlierjobs import ContinuedFrom
from trainer.augmentation.counts import AugmentedRows
from trainer.evaluation.measurement import Measurement
from trainer.rank.ledger import Ledger
from trainer.training.loop import StopReason


@dataclass(frozen=True)
class RunState:
    """The state of a run after a step. `finetune export` uses `weights`, `revision`, `dtype` and `known` to load the base model."""

    step: int
    tokens_seen: int
    world_size: int
    stop_reason: StopReason | None
    """Why training is over; None if steps are left, also after an interruption."""
    ledger: Ledger
    varied: AugmentedRows
    baseline: Measurement | None
    """None where the base model is measured after training."""
    weights: str
    """Digest of the base model's weights."""
    revision: str | None
    """Commit of the base model on the hub; None for a local model."""
    dtype: str
    """Data type of the base model's weights, such as float32."""
    loss_scale: Mapping[str, Any] | None = None
    """The engine's loss scale under float16."""
    repeated_steps: int = 0
    length: Mapping[str, Any] | None = None
    """How long the run was to train, as its configuration says: epochs or maxSteps."""
    continued: ContinuedFrom | None = None
    """The run that it went on from."""
    known: tuple[str, ...] = ()
    """What the task knew of the training rows, such as the names of the classes."""
    rewritten: str = ""
    """Digest of what models wrote in place of training texts; empty without any."""

    def to_wire(self) -> dict[str, Any]:
        """Return the content of the checkpoint's state.json."""
        baseline = self.baseline.to_state() if self.baseline is not None else None
        return {
            "step": self.step, "tokensSeen": self.tokens_seen, "worldSize": self.world_size, "stopReason": self.stop_reason,
            "ledger": self.ledger.to_state(), "augmentation": self.varied.to_state(), "baseline": baseline,
            "weights": self.weights, "revision": self.revision, "dtype": self.dtype,
            "lossScale": self.loss_scale, "repeatedSteps": self.repeated_steps, "known": list(self.known), "rewritten": self.rewritten,
            "length": self.length, "continued": self.continued.to_wire() if self.continued is not None else None,
        }  # fmt: skip

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "RunState":
        """Return the state from a checkpoint's state.json; raises KeyError or ValueError for an invalid one.

        What the fields with defaults keep is missing in one written before they existed.
        """
        return cls(
            step=int(wire["step"]),
            tokens_seen=int(wire["tokensSeen"]),
            world_size=int(wire["worldSize"]),
            stop_reason=StopReason(wire["stopReason"]) if wire["stopReason"] is not None else None,
            ledger=Ledger.from_state(wire["ledger"]),
            varied=AugmentedRows.from_state(wire["augmentation"]),
            baseline=Measurement.from_state(wire["baseline"]) if wire["baseline"] is not None else None,
            weights=wire["weights"],
            revision=wire["revision"],
            dtype=wire["dtype"],
            loss_scale=wire.get("lossScale"),
            repeated_steps=int(wire.get("repeatedSteps", 0)),
            known=tuple(wire.get("known", ())),
            length=wire.get("length"),
            continued=ContinuedFrom.model_validate(wire["continued"]) if wire.get("continued") is not None else None,
            rewritten=wire.get("rewritten", ""),
        )
