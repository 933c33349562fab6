"""Hugging Face's Trainer with the settings of a job. Test: tests/bench/test_references.py."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers import DataCollatorWithFlattening, Trainer, TrainerCallback, TrainingArguments

from bench.references.recorder import Recorder
from bench.references.work import IGNORED, Work, labels_of, load_model
from finetune.api.sections import GradientCheckpointing

Row = dict[str, list[int]]


class Rows(Dataset[Row]):
    """The rows of a whole run, in the order in which they are trained."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        return self._rows[index]


class Recorded:
    """For a subclass of Trainer: takes the rows as they come, and counts the tokens of each micro-batch that is computed."""

    recorder: Recorder
    train_dataset: Any

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return SequentialSampler(self.train_dataset)  # they are in a random order already

    def training_step(self, model: Any, inputs: Mapping[str, Any], *arguments: Any, **options: Any) -> Any:
        """Count, then compute."""
        mask = inputs.get("attention_mask")
        self.recorder.count(int(mask.sum()) if mask is not None else inputs["position_ids"].numel())
        return super().training_step(model, inputs, *arguments, **options)  # type: ignore[misc]


class HuggingFaceTrainer(Recorded, Trainer):  # type: ignore[misc]
    """The Trainer, recorded."""


class Lines(TrainerCallback):  # type: ignore[misc]
    """Notes each step's end and its loss, which the Trainer logs."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_: Any) -> None:
        """Take the loss of a step; the summary of the run has none under this name."""
        if logs and "loss" in logs:
            self._recorder.end_step(logs["loss"])


def pad(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """Pad on the right to the longest row."""
    length = max(len(row["input_ids"]) for row in rows)
    shape = (len(rows), length)
    batch = {"input_ids": torch.zeros(shape, dtype=torch.long), "attention_mask": torch.zeros(shape, dtype=torch.long)}
    batch["labels"] = torch.full(shape, IGNORED)
    for index, row in enumerate(rows):
        size = len(row["input_ids"])
        batch["input_ids"][index, :size] = torch.tensor(row["input_ids"])
        batch["attention_mask"][index, :size] = 1
        batch["labels"][index, :size] = torch.tensor(row["labels"])
    return batch


def settings(work: Work) -> dict[str, Any]:
    """Return the job's settings in Hugging Face's words, for TrainingArguments and what is derived from it."""
    training, ranks, cuda = work.config.training, work.config.workers.world_size, work.device.type == "cuda"
    return {
        "output_dir": str(work.output),
        "max_steps": len(work.steps),
        "per_device_train_batch_size": training.micro_batch_size,
        "gradient_accumulation_steps": training.global_batch_size // (training.micro_batch_size * ranks),
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": training.scheduler.value,
        "warmup_steps": training.warmup_ratio,
        "weight_decay": work.config.regularization.weight_decay,
        "max_grad_norm": training.gradient_clipping,
        "seed": training.seed,
        "bf16": work.bfloat16,
        "use_cpu": not cuda,
        "dataloader_pin_memory": cuda,
        "ddp_backend": None if ranks == 1 else "nccl" if cuda else "gloo",
        "ddp_find_unused_parameters": False,
        "gradient_checkpointing": training.gradient_checkpointing is GradientCheckpointing.ALWAYS,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": min(work.config.checkpoint.every_steps, len(work.steps)),  # the product saves after its last step too
        "report_to": "none",
        "remove_unused_columns": False,
        "disable_tqdm": True,
    }


def rows_of(work: Work) -> list[Row]:
    """Return the rows as Hugging Face expects them."""
    return [{"input_ids": list(row.input_ids), "labels": labels_of(row)} for row in work.rows]


def run(trainer: Any, recorder: Recorder, output: Path) -> None:
    """Train, write the lines, and save the result."""
    trainer.recorder = recorder
    trainer.train()
    recorder.write(output)
    trainer.save_model(str(output / "model"))


def train(work: Work) -> None:
    """Train all steps."""
    recorder = Recorder()
    trainer = HuggingFaceTrainer(
        model=load_model(work),
        args=TrainingArguments(**settings(work)),
        train_dataset=Rows(rows_of(work)),
        data_collator=DataCollatorWithFlattening() if work.packed else pad,
        callbacks=[Lines(recorder)],
    )
    run(trainer, recorder, work.output)
