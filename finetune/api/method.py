"""Ways to train fewer weights than all of them, besides adapters: which of method's members they belong to is in sections.py.

Pydantic only. Tests: tests/trainer/engine/test_methods.py, tests/integration/test_malformed_jobs.py.
"""

from typing import Annotated

from pydantic import Field

from finetune.api.base import Rule, WireModel


class OsfMethod(WireModel):
    """Train the weak singular directions of each weight matrix, away from the strong ones (OSF; Nayak et al. 2025, arXiv:2504.07097).

    The gradient is projected to be orthogonal to the strong directions before each step, as in PEFT and the authors' code; AdamW then
    scales each number by itself, so that a step need not be orthogonal to the last digit.
    """

    effective_rank: Annotated[float, Field(gt=0, le=65536)] = Field(
        0.5,
        description="Strong singular directions of each matrix that are kept as they are: below 1 a share of its smaller dimension, from 1"
        " on their number. All others are trained.",
    )
    target_modules: list[Annotated[str, Field(min_length=1, max_length=200)]] | None = Field(
        None,
        min_length=1,
        max_length=32,
        description="Names of the linear layers that are trained. Default: every linear layer but the output layer.",
    )

    rules = (
        Rule(
            "self.effectiveRank < 1.0 || self.effectiveRank == double(int(self.effectiveRank))",
            lambda osf: osf.effective_rank < 1 or osf.effective_rank.is_integer(),
            "effectiveRank: from 1 on it is a number of directions; give a whole number, or a share below 1",
        ),
    )


class Freeze(WireModel):
    """Weights that stay as they are, without gradient and optimizer state; all others are trained."""

    embeddings: bool = Field(
        False, description="The embeddings of tokens, positions and kinds of tokens. A tied output layer is one of them."
    )
    layers: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="The first layers, by number; those of an encoder-decoder are counted from the encoder's first one on."
    )
    body: bool = Field(False, description="All but the layers on top of an encoder that are the task's own.")

    rules = (
        Rule(
            "self.embeddings || has(self.layers) || self.body",
            lambda freeze: freeze.embeddings or freeze.layers is not None or freeze.body,
            "freeze: set embeddings, layers or body, or leave it out",
        ),
    )
