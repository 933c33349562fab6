"""The jobs of each study: a common job, and what each variant changes in it. Pure. Test: tests/bench/studies/test_variants.py."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Job = dict[str, Any]

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
ALL_ROWS = 10_003
SIZES = (100, 300, 1000, ALL_ROWS)
EPOCHS = {100: 30, 300: 20, 1000: 10, ALL_ROWS: 3}
"""Fewer rows are seen more often: a model that has converged on 100 rows has seen each about thirty times."""
SEEDS = (42, 43, 44)


@dataclass(frozen=True)
class Variant:
    """One job of a study: its place in the table, and the job itself."""

    row: str
    column: str
    job: Job

    @property
    def name(self) -> str:
        """Return the name of the job and of its folder."""
        return f"{self.row}-{self.column}".replace(" ", "-").replace(",", "").lower()


def transfer() -> list[Variant]:
    """Return banking77 with 100 to all training rows, each by four ways to begin: what pre-training gives, and what is worth training."""
    ways: Mapping[str, Job] = {
        "full": {"method": {"full": {}}, "training": {"learningRate": 3.0e-4}},
        "frozen body": {"method": {"full": {"freeze": {"body": True}}}, "training": {"learningRate": 1.0e-2}},
        "LoRA": {"method": {"lora": {"rank": 16, "alpha": 32}}, "training": {"learningRate": 2.0e-3}},
        "random start": {"model": {"initialization": "random"}, "method": {"full": {}}, "training": {"learningRate": 3.0e-4}},
    }
    return [
        Variant(way, str(rows) if rows < ALL_ROWS else "all", _changed(_intents(rows, EPOCHS[rows]), changes))
        for rows in SIZES
        for way, changes in ways.items()
    ]


def augmentation() -> list[Variant]:
    """Return 300 rows of banking77 with added variants, with rows rewritten in place and with neither, each with three seeds.

    All see as many rows: an epoch with four variants beside each row is as long as five without.
    """
    operations = [
        {"synonymReplacement": {"probability": 0.15}},
        {"wordDropout": {"probability": 0.05}},
        {"characterNoise": {"probability": 0.01}},
    ]
    ways: Mapping[str, Job] = {
        "none": {},
        "in place": {"augmentation": {"operations": operations, "augmentedShare": 0.5}},
        "added": {"augmentation": {"operations": operations, "copiesPerRow": 4}, "training": {"epochs": EPOCHS[300] / 5}},
    }
    common = _changed(_intents(300, EPOCHS[300]), {"method": {"full": {}}, "training": {"learningRate": 3.0e-4}})
    return [
        Variant(way, f"seed {seed}", _changed(_changed(common, changes), {"training": {"seed": seed}}))
        for seed in SEEDS
        for way, changes in ways.items()
    ]


def _intents(rows: int, epochs: int) -> Job:
    """Return the job without a method; its rows are those of the claim `data`, in its folder banking77."""
    data: Job = {side: [{"persistentVolumeClaim": {"claimName": "data", "path": f"banking77/{side}.csv"}}] for side in ("train", "test")}
    if rows < ALL_ROWS:
        data["maxTrainRows"] = rows
    return {
        "task": "text-classification",
        "model": {"name": ENCODER},
        "data": data,
        "training": {
            "epochs": epochs, "globalBatchSize": 32, "microBatchSize": 32, "groupByLength": True, "maxSequenceLength": 128,
        },
        "checkpoint": {"everySteps": 100_000, "keep": 1},
        "output": {"persistentVolumeClaim": {"claimName": "results", "path": "studies"}, "export": ["merged"]},
    }  # fmt: skip


def _changed(job: Job, changes: Mapping[str, Any]) -> Job:
    """Return the job with `changes`, which go as deep as both are objects."""
    found = copy.deepcopy(job)
    for name, value in changes.items():
        found[name] = _changed(found[name], value) if isinstance(value, Mapping) and name in found else copy.deepcopy(value)
    return found


STUDIES: Mapping[str, Sequence[Variant]] = {"transfer": transfer(), "augmentation": augmentation()}
