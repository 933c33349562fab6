"""A loop as an experienced user writes it by hand: nothing is computed that the loss does not need. The bound for the product.

Rows of a step are sorted by length, logits are computed where there is loss, AdamW is fused, packed rows attend within their
document only. Test: tests/bench/test_references.py.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from bench.references.huggingface import pad
from bench.references.recorder import Recorder
from bench.references.work import IGNORED, Work, labels_of, load_model
from finetune.api.sections import GradientCheckpointing
from trainer.data.rows import Sample

BY_DOCUMENT = "bench_by_document"


def attend_by_document(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, *,
                       document_lengths: list[int], **options: Any) -> tuple[Tensor, None]:  # fmt: skip
    """Attend within each document of one packed row; tensors are (1, heads, tokens, width)."""
    documents = zip(*(torch.split(states, document_lengths, dim=2) for states in (query, key, value)), strict=True)
    attended = [sdpa_attention_forward(module, *states, None, is_causal=True, **options)[0] for states in documents]
    return torch.cat(attended, dim=1), None


class SumOfLosses(nn.Module):
    """The model with its loss, summed over the tokens that have one: what DistributedDataParallel wraps."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, labels: Tensor, **inputs: Any) -> Tensor:
        """Return the sum of the negative log-likelihoods; `labels` (rows, length) are IGNORED where there is no loss."""
        hidden = self.model.get_decoder()(input_ids=input_ids, use_cache=False, **inputs).last_hidden_state[:, :-1]
        wanted = labels[:, 1:]
        kept = wanted != IGNORED
        logits = self.model.get_output_embeddings()(hidden[kept])
        return functional.cross_entropy(logits.float(), wanted[kept], reduction="sum")


def join(rows: Sequence[Sample]) -> dict[str, Any]:
    """Join rows into one, whose positions start again at each document."""
    labels = [[IGNORED, *labels_of(row)[1:]] for row in rows]  # a first token is not predicted from another document
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row.input_ids]]),
        "labels": torch.tensor([[label for row in labels for label in row]]),
        "position_ids": torch.tensor([[position for row in rows for position in range(len(row.input_ids))]]),
        "document_lengths": [len(row.input_ids) for row in rows],
    }


def micro_batches(work: Work, rows: Sequence[Sample], rank: int, ranks: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield number of tokens and inputs of each of a rank's micro-batches of a step."""
    own, size = sorted(rows, key=lambda row: len(row.input_ids))[rank::ranks], work.config.training.micro_batch_size
    for start in range(0, len(own), size):
        chosen = own[start : start + size]
        batch = join(chosen) if work.packed else pad([{"input_ids": list(row.input_ids), "labels": labels_of(row)} for row in chosen])
        moved = {name: value.to(work.device) if isinstance(value, Tensor) else value for name, value in batch.items()}
        yield sum(len(row.input_ids) for row in chosen), moved


def optimizer_of(work: Work, model: nn.Module) -> torch.optim.Optimizer:
    """Return fused AdamW; vectors get no weight decay, as in the product and in Hugging Face's Trainer."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed, exempt = [each for each in trained if each.dim() >= 2], [each for each in trained if each.dim() < 2]
    decay = work.config.regularization.weight_decay
    groups = [{"params": decayed, "weight_decay": decay}, {"params": exempt, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=work.config.training.learning_rate, fused=True)


def train(work: Work) -> None:
    """Train all steps at a constant learning rate."""
    ranks, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if ranks > 1:
        torch.distributed.init_process_group("gloo")
    AttentionInterface.register(BY_DOCUMENT, attend_by_document)
    torch.manual_seed(work.config.training.seed + rank)
    model: Any = load_model(work, BY_DOCUMENT if work.packed else "sdpa").to(work.device)
    if work.config.training.gradient_checkpointing is GradientCheckpointing.ALWAYS:
        model.gradient_checkpointing_enable()
    loss_of: nn.Module = SumOfLosses(model.get_base_model() if work.lora else model).train()
    compute: Any = DistributedDataParallel(loss_of) if ranks > 1 else loss_of
    optimizer, recorder = optimizer_of(work, loss_of), Recorder()
    trained = [parameter for parameter in loss_of.parameters() if parameter.requires_grad]
    clipping, every = work.config.training.gradient_clipping, work.config.checkpoint.every_steps
    for step, rows in enumerate(work.steps, start=1):
        # Every rank knows all rows of the step, so the number of tokens with loss needs no reduction.
        units = sum(sum(row.loss_mask[1:]) for row in rows)
        batches, nll = list(micro_batches(work, rows, rank, ranks)), torch.zeros((), device=work.device)
        for index, (tokens, batch) in enumerate(batches):
            last = index == len(batches) - 1
            quiet: AbstractContextManager[None] = nullcontext() if ranks == 1 or last else compute.no_sync()
            with quiet:
                with torch.autocast(work.device.type, torch.bfloat16, enabled=work.bfloat16):
                    loss = compute(**batch)
                (loss * (ranks / units)).backward()
            nll += loss.detach()
            recorder.count(tokens)
        if clipping > 0:
            torch.nn.utils.clip_grad_norm_(trained, clipping, foreach=True)
        optimizer.step()
        optimizer.zero_grad()
        if ranks > 1:
            torch.distributed.all_reduce(nll)
        recorder.end_step(float(nll) / units)
        if rank == 0 and (step % every == 0 or step == len(work.steps)):
            torch.save({"trained": trained, "optimizer": optimizer.state_dict()}, work.output / "checkpoint.pt")
    recorder.write(work.output)
    if rank == 0:
        model.save_pretrained(work.output / "model")
    if ranks > 1:
        torch.distributed.destroy_process_group()
