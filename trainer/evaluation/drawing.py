"""Draws the tokens of answers at random, each answer from a generator of its own, so that batch and order change nothing.

transformers draws all rows of a batch from one generator. Here each row gets noise of its own instead: the largest of logits with
standard Gumbel noise is a draw from their softmax. Test: tests/trainer/evaluation/test_drawing.py.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.generation.logits_process import LogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from finetune.api.using import Decoding


def drawing(decoding: Decoding, prompts: Sequence[Sequence[int]]) -> list[LogitsProcessor]:
    """Return what turns the greedy search of a batch of prompts (token ids) into draws."""
    processors: list[Any] = [TemperatureLogitsWarper(decoding.temperature)]
    processors += [TopKLogitsWarper(decoding.top_k)] if decoding.top_k is not None else []
    processors += [TopPLogitsWarper(decoding.top_p)] if decoding.top_p is not None else []
    return [*processors, Noise(seed_of(decoding.seed, prompt) for prompt in prompts)]


def seed_of(seed: int, prompt: Sequence[int]) -> int:
    """Return the seed of a prompt's answer: the same wherever in a file the prompt is."""
    digest = hashlib.sha256(f"{seed} {' '.join(map(str, prompt))}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1  # torch takes 63 bits


class Noise(LogitsProcessor):  # type: ignore[misc]  # of a class without types
    """Adds Gumbel noise to the logits of each row, from its own generator on the CPU: the same on every device."""

    def __init__(self, seeds: Any) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores of shape (rows, vocabulary) with noise; float32, as 16 bits have too few values for it."""
        uniform = torch.stack([torch.rand(scores.shape[-1], generator=generator, dtype=torch.float64) for generator in self._generators])
        noise = -torch.log(-torch.log(uniform.clamp_min(torch.finfo(torch.float64).tiny)))
        return scores.float() + noise.to(scores.device, torch.float32)
