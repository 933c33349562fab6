"""Draws follow the probabilities that were asked for, and depend on seed and prompt alone."""

from collections import Counter

import pytest
import torch

from finetune.api.using import Decoding
from trainer.evaluation.drawing import Noise, drawing

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0])
DRAWS = 4000


def drawn(decoding: Decoding) -> list[float]:
    """Return the share of each of four tokens among draws, one for each of many prompts."""
    scores, prompts = LOGITS.repeat(DRAWS, 1), [[prompt] for prompt in range(DRAWS)]
    for processor in drawing(decoding, prompts):
        scores = processor(torch.zeros(DRAWS, 1, dtype=torch.long), scores)
    counts = Counter(scores.argmax(-1).tolist())
    return [counts[token] / DRAWS for token in range(4)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"temperature": 1.0}, torch.softmax(LOGITS, 0)),
        ({"temperature": 0.5}, torch.softmax(LOGITS / 0.5, 0)),
        ({"temperature": 1.0, "top_k": 2}, torch.tensor([0.731, 0.269, 0.0, 0.0])),
        ({"temperature": 1.0, "top_p": 0.8}, torch.tensor([0.731, 0.269, 0.0, 0.0])),
    ],
    ids=["plain", "sharper", "two likeliest", "likeliest four fifths"],
)
def test_draws_follow_the_probabilities(options: dict[str, float], expected: torch.Tensor) -> None:
    # The standard error of a share of 4,000 draws is below 0.008.
    torch.testing.assert_close(torch.tensor(drawn(Decoding.model_validate(options))), expected, atol=0.03, rtol=0)


def test_another_seed_is_another_draw() -> None:
    assert drawn(Decoding(temperature=1.0)) == drawn(Decoding(temperature=1.0))
    assert drawn(Decoding(temperature=1.0)) != drawn(Decoding(temperature=1.0, seed=1))


def test_16_bit_logits_get_the_same_noise() -> None:
    exact, rounded = (Noise([5])(torch.zeros(1, 1), LOGITS[None].to(dtype)) for dtype in (torch.float32, torch.bfloat16))

    assert torch.equal(exact, rounded), "these logits are the same in both"
