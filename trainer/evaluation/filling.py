"""Names the words that a text lacks, over all ranks. An answer depends neither on its batch nor on the number of ranks.

Test: tests/trainer/evaluation/test_filling.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trainer.engine.inference import Inference
from trainer.evaluation.generation import Generated
from trainer.tasks.base import Fill

CANDIDATES = 5
"""Most probable tokens of each place."""


@dataclass(frozen=True)
class Filled(Generated):
    """A text with the most probable token at each place; for each place its candidates with their probabilities."""

    places: tuple[tuple[tuple[str, float], ...], ...] = ()

    def to_wire(self) -> dict[str, Any]:
        """Return it as JSON."""
        shown = [[{"token": token, "score": round(score, 6)} for token, score in found] for found in self.places]
        return {"text": self.text, "places": shown}


def fill(
    engine: Inference, tokenizer: Any, requests: Sequence[Fill], max_length: int, between: Callable[[], None] = lambda: None
) -> list[Filled]:
    """Return one answer per request, in order, on every rank; of a text of more than `max_length` tokens the beginning is read.

    `between` is called on every rank before each text, equally often; it may raise, on all ranks or none.
    """
    own = range(engine.rank, len(requests), engine.world_size)
    turns = -(-len(requests) // engine.world_size)
    answers: dict[int, Filled] = {}
    was_training = engine.model.training
    engine.model.eval()
    try:
        with torch.no_grad(), engine.whole():
            for turn in range(turns):
                between()
                if turn < len(own) or engine.shards_parameters:  # a forward pass needs every rank
                    number = own[turn] if turn < len(own) else 0
                    found = _filled(engine, tokenizer, requests[number], max_length)
                    if turn < len(own):
                        answers[number] = found
    finally:
        engine.model.train(was_training)
    answered = {number: answer for part in engine.gather(answers) for number, answer in part.items()}
    return [answered[number] for number in range(len(requests))]


def _filled(engine: Inference, tokenizer: Any, request: Fill, max_length: int) -> Filled:
    ids = torch.tensor([request.text_ids[:max_length]])
    places = (ids[0] == request.mask).nonzero().flatten()
    scores = engine.forward(input_ids=ids.to(engine.device))[0].float().cpu()[places].double().softmax(dim=-1)
    best = scores.topk(min(CANDIDATES, scores.shape[-1]), dim=-1)
    ids[0, places] = best.indices[:, 0]
    named = tuple(
        tuple((str(tokenizer.decode([token])).strip(), score) for token, score in zip(*pair, strict=True))
        for pair in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    )
    return Filled(str(tokenizer.decode(ids[0], skip_special_tokens=True)), cut=False, places=named)
