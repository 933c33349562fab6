"""What the driver gives a rank: the job, its checked input, and a way back to the driver.

Pure. Test: tests/trainer/rank/test_results.py.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from finetune.api.trainconfig import TrainConfig
from trainer.preflight.inputs import Inputs
from trainer.reporting.messages import Sender
from trainer.reporting.sinks import SinkOpener
from trainer.reporting.stageclock import StageClock
from trainer.storage.checkpoint import CheckpointStore
from trainer.storage.kinds import output_place
from trainer.storage.place import Place


@dataclass(frozen=True)
class Assignment:
    """One rank's part in an attempt; every rank gets the same, except for its own sinks."""

    config: TrainConfig
    inputs: Inputs
    owner: str
    """The job's UID, or the digest of its configuration: whose checkpoints may be used."""
    sender: Sender
    sinks: Sequence[SinkOpener] = ()
    """Additional destinations of figures, besides the files in the output folder."""
    only_results: bool = False
    """The run had finished before; missing results are made from its checkpoints."""
    clock: StageClock = field(default_factory=lambda: StageClock("rank 0", time.time()))
    """Has timed the stages until now."""

    @property
    def directory(self) -> Path:
        """Local path of the output folder, for the figures of each step: they are appended to files, which a place does not offer."""
        return Path(self.config.output.directory)

    @property
    def place(self) -> Place:
        """Where results are published; for now always the output folder."""
        return output_place(self.config.output)

    def checkpoints(self) -> CheckpointStore:
        """Return the store of the run's checkpoints, with nothing read yet."""
        return CheckpointStore(self.place, self.owner, self.config.checkpoint.keep)
