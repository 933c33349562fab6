"""measurement.json: the rows behind the figures of a run's base and tuned model, so that other runs are compared with it row by row.

It holds what predictions.jsonl holds of the rows' texts, for those that were answered, and numbers for all others. Pure, but for
reading the file. Test: tests/trainer/evaluation/test_measured.py.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune.api.results import MEASUREMENT, Results
from trainer.evaluation.measurement import Measurement

FORMAT = 1


@dataclass(frozen=True)
class Measured:
    """Both models of a run on its test rows."""

    rows: str
    """sha256 of what the test rows hold."""
    conditions: str
    """Digest of all that decides the base model's figures on these rows: model, task and settings."""
    step: int
    """That of the tuned model's weights."""
    base: Measurement
    tuned: Measurement

    def to_text(self) -> str:
        """Return the content of the file."""
        wire = {
            "format": FORMAT, "rows": self.rows, "conditions": self.conditions, "step": self.step,
            "base": self.base.to_state(), "tuned": self.tuned.to_state(),
        }  # fmt: skip
        return json.dumps(wire, ensure_ascii=False, separators=(",", ":"))


def measured_in(results: Results) -> Measured | None:
    """Return what a run left; None where there is no file, or none that this version can read."""
    try:
        wire = json.loads(results.fetch(MEASUREMENT).read_text(encoding="utf-8"))
        if wire["format"] != FORMAT:
            return None
        base, tuned = (Measurement.from_state(wire[model]) for model in ("base", "tuned"))
        return Measured(wire["rows"], wire["conditions"], int(wire["step"]), base, tuned)
    except (OSError, ValueError, KeyError, TypeError, zlib.error):
        return None


def digest_of_conditions(conditions: Mapping[str, Any]) -> str:
    """Return the digest of what figures depend on, given as JSON values by name."""
    return hashlib.sha256(json.dumps(conditions, sort_keys=True, default=str).encode()).hexdigest()
