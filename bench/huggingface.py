"""One rank of a Hugging Face Trainer run with the settings of a TrainConfig; started by torchrun for bench.quickstart.

Model, adapter and rows are those of the product, so that both runs compute the same and only the trainer differs.
Test: the bench itself.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments

from finetune.api.trainconfig import TrainConfig
from trainer.data.rows import Sample
from trainer.data.sampler import batch_at
from trainer.model.load import load_model
from trainer.model.location import locate
from trainer.model.lora import apply_method
from trainer.preflight.inputs import tokenizer_for
from trainer.preflight.prepare import prepare
from trainer.tasks.registry import task_of

IGNORED = -100
"""The label that Hugging Face leaves out of the loss."""


class Rows(Dataset[Sample]):
    """The rows of a whole run, in the order in which the product takes them."""

    def __init__(self, rows: Sequence[Sample]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        return self._rows[index]


class InOrder(Trainer):  # type: ignore[misc]
    """Takes the rows as they come: they are in a random order already."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return SequentialSampler(self.train_dataset)


class StepTimes(TrainerCallback):  # type: ignore[misc]
    """Writes a line per step, in the form of the product's metrics.jsonl."""

    def __init__(self, path: Path, tokens_of_step: Sequence[int]) -> None:
        self._path, self._tokens, self._seen = path, tokens_of_step, 0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Append a line on the first rank."""
        if not state.is_world_process_zero:
            return
        self._seen += self._tokens[state.global_step - 1]
        with self._path.open("a") as stream:
            stream.write(json.dumps({"step": state.global_step, "time": datetime.now(UTC).isoformat(), "tokensSeen": self._seen}) + "\n")


def collate(rows: Sequence[Sample]) -> dict[str, torch.Tensor]:
    """Pad on the right to the longest row."""
    length = max(len(row.input_ids) for row in rows)
    shape = (len(rows), length)
    batch = {"input_ids": torch.zeros(shape, dtype=torch.long), "attention_mask": torch.zeros(shape, dtype=torch.long)}
    batch["labels"] = torch.full(shape, IGNORED)
    for index, row in enumerate(rows):
        ids, size = torch.tensor(row.input_ids), len(row.input_ids)
        batch["input_ids"][index, :size] = ids
        batch["attention_mask"][index, :size] = 1
        batch["labels"][index, :size] = torch.where(torch.tensor(row.loss_mask, dtype=torch.bool), ids, IGNORED)
    return batch


def rows_of_run(config: TrainConfig, tokenizer: Any) -> list[Sample]:
    """Return the rows of all steps, one after the other."""
    training = config.training
    with tempfile.TemporaryDirectory(prefix="finetune-data-") as folder:
        dataset = prepare(config, Path(folder))
        task = task_of(config.task)
        tokens = [piece.tokens for example in dataset.train for piece in task.encode(example, tokenizer, training.max_sequence_length)]
    size = training.global_batch_size
    return [tokens[row] for step in range(training.max_steps or 0) for _, row in batch_at(step, len(tokens), size, training.seed)]


def arguments(config: TrainConfig, output: Path) -> TrainingArguments:
    """Return the settings of the TrainConfig in Hugging Face's words."""
    training, regularization, ranks = config.training, config.regularization, config.workers.world_size
    return TrainingArguments(
        output_dir=str(output),
        max_steps=training.max_steps or 0,
        per_device_train_batch_size=training.micro_batch_size,
        gradient_accumulation_steps=training.global_batch_size // (training.micro_batch_size * ranks),
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.scheduler.value,
        warmup_steps=training.warmup_ratio,
        weight_decay=regularization.weight_decay,
        label_smoothing_factor=regularization.label_smoothing,
        max_grad_norm=training.gradient_clipping,
        seed=training.seed,
        use_cpu=not torch.cuda.is_available(),
        ddp_backend="nccl" if torch.cuda.is_available() else "gloo",
        ddp_find_unused_parameters=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        remove_unused_columns=False,
        disable_tqdm=True,
    )


def main() -> None:
    """Train for the number of steps of the configuration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="TrainConfig as JSON")
    parser.add_argument("--output", type=Path, required=True, help="folder for metrics.jsonl")
    options = parser.parse_args()
    config = TrainConfig.model_validate_json(options.config.read_text())
    located, task = locate(config.model), task_of(config.task)
    rows = rows_of_run(config, tokenizer_for(task, located))
    size = config.training.global_batch_size
    tokens_of_step = [sum(len(row.input_ids) for row in rows[start : start + size]) for start in range(0, len(rows), size)]
    family = task.objective.family
    model = apply_method(load_model(located, torch.float32, family), config.method, config.regularization, config.training.seed, family)
    InOrder(
        model=model,
        args=arguments(config, options.output),
        train_dataset=Rows(rows),
        data_collator=collate,
        callbacks=[StepTimes(options.output / "metrics.jsonl", tokens_of_step)],
    ).train()


if __name__ == "__main__":
    main()
