"""Remembers which rehearsals passed, because one takes seconds of processor time and always ends in the same way.

Touches the cache folder. Test: tests/trainer/preflight/test_passed.py.
"""

import contextlib
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import trainer
from finetune.api.trainconfig import TrainConfig
from trainer.model.gguf import cache_directory
from trainer.preflight.shardkeys import digest_of_code

LIBRARIES = ("torch", "transformers", "peft", "accelerate")
ROOMS = ("model", "objectives", "preflight", "tasks")
"""Packages of the trainer whose code a rehearsal runs."""


@dataclass(frozen=True)
class Rehearsed:
    """The outcome of a rehearsal that refused nothing."""

    built: bool
    """Whether the model could be built, which is no condition; if not, little was checked."""
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Passed:
    """Whether a rehearsal passed, as a file of its findings in the cache, named by everything that its outcome depends on."""

    file: Path

    @classmethod
    def of(cls, config: TrainConfig, folder: Path) -> "Passed":
        """Return the record of rehearsing the model in `folder`, of which only config.json counts."""
        sections = (config.method, config.training, config.regularization, config.workers)
        parts = [
            sys.version, [version(name) for name in LIBRARIES], digest_of_code(Path(trainer.__file__).parent, ROOMS), config.task,
            [section.to_wire() for section in sections], config.adaptation is not None and bool(config.adaptation.sweep),
            (folder / "config.json").read_text(encoding="utf-8"),
        ]  # fmt: skip
        return cls(cache_directory() / "rehearsals" / hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32])

    @property
    def findings(self) -> tuple[str, ...] | None:
        """What was found when it passed; None if it is not known to have passed."""
        try:
            return tuple(json.loads(self.file.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None

    def remember(self, findings: Sequence[str] = ()) -> None:
        """Record that it passed with these findings; a cache that cannot be written costs the seconds again, and nothing else."""
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text(json.dumps(list(findings)), encoding="utf-8")
