"""What a reference has to train, and the model as a user of transformers and PEFT loads it.

Rows come from the product, so that all see the same; everything after them is the reference's own.
Test: tests/bench/test_references.py.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM

from finetune.api.tasks import ModelFamily
from finetune.api.trainconfig import TrainConfig
from trainer.data.rows import Sample
from trainer.data.sampler import order_of
from trainer.model.location import folder_of, locate
from trainer.preflight.inputs import tokenizer_for
from trainer.preflight.prepare import prepare
from trainer.tasks.registry import task_of

IGNORED = -100
"""The label that Hugging Face leaves out of the loss."""
ALL_LINEAR = "all-linear"


@dataclass(frozen=True)
class Work:
    """One run of a reference."""

    config: TrainConfig
    output: Path
    model: Path
    """Folder as written by save_pretrained."""
    tokenizer: Any
    steps: Sequence[Sequence[Sample]]
    """The rows of each optimizer step, in the order in which they are drawn."""
    packed: bool
    """Rows of a micro-batch are joined into one instead of padded to one length."""
    device: torch.device
    bfloat16: bool = False
    """Frozen weights are held in bfloat16, and forward and backward run under autocast."""

    @property
    def rows(self) -> list[Sample]:
        """The rows of all steps, one after the other."""
        return [row for rows in self.steps for row in rows]

    @property
    def lora(self) -> bool:
        """Whether adapters are trained, not all weights."""
        return self.config.method.lora is not None


def work_of(config: TrainConfig, output: Path, *, packed: bool, device: torch.device, bfloat16: bool = False) -> Work:
    """Read and tokenize the rows of a configuration for all of its steps."""
    located, task, training = locate(config.model), task_of(config.task, ModelFamily.CAUSAL), config.training
    tokenizer = tokenizer_for(task, located)
    with tempfile.TemporaryDirectory(prefix="finetune-data-") as folder:
        dataset = prepare(config, Path(folder))
        tokens = [piece.tokens for example in dataset.train for piece in task.encode(example, tokenizer, training.max_sequence_length)]
    order = order_of(training, tokens)
    steps = [[tokens[row] for _, row in order.batch(step)] for step in range(training.max_steps or 0)]
    return Work(config, output, folder_of(located), tokenizer, steps, packed, device, bfloat16)


def labels_of(row: Sample) -> list[int]:
    """Return the row's tokens with IGNORED where they have no loss."""
    return [token if has_loss else IGNORED for token, has_loss in zip(row.input_ids, row.loss_mask, strict=True)]


def load_model(work: Work, attention: str = "sdpa") -> nn.Module:
    """Return the model to train, with PEFT's adapters for LoRA; their first weights are the product's."""
    held = torch.bfloat16 if work.bfloat16 and work.lora else torch.float32
    model = AutoModelForCausalLM.from_pretrained(work.model, dtype=held, local_files_only=True, attn_implementation=attention)
    lora = work.config.method.lora
    if lora is not None:
        targets = lora.target_modules or ALL_LINEAR
        settings = LoraConfig(
            task_type=TaskType.CAUSAL_LM, r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets
        )
        with torch.random.fork_rng():
            torch.manual_seed(work.config.training.seed)
            model = get_peft_model(model, settings)
    trained: nn.Module = model
    return trained.train()
