"""Chooses the classes of texts, over all ranks. An answer depends neither on its batch nor on the number of ranks.

Test: tests/trainer/evaluation/test_labels.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from trainer.engine.inference import Inference
from trainer.evaluation.generation import Generated
from trainer.evaluation.metrics.evidence import HALF
from trainer.objectives.classification import probabilities_of
from trainer.objectives.reading import padded
from trainer.tasks.base import Classify


@dataclass(frozen=True)
class Labelled(Generated):
    """The class of a text, or its classes with commas between them; `scores` are the probabilities of all, the largest first."""

    labels: tuple[str, ...] = ()
    several: bool = False
    scores: Mapping[str, float] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        """Return it as JSON."""
        chosen = {"labels": list(self.labels)} if self.several else {"label": self.labels[0]}
        return {**chosen, "scores": {name: round(score, 6) for name, score in self.scores.items()}}


def classify(
    engine: Inference, requests: Sequence[Classify], max_length: int, rows_at_once: int, between: Callable[[], None] = lambda: None
) -> list[Labelled]:
    """Return one answer per request, in order, on every rank; of a text of more than `max_length` tokens the beginning is read.

    `between` is called on every rank before each batch, equally often; it may raise, on all ranks or none.
    """
    order = sorted(range(len(requests)), key=lambda index: len(requests[index].text_ids))
    own = order[engine.rank :: engine.world_size]
    computed, most = own, -(-len(requests) // engine.world_size)
    if engine.shards_parameters:  # a forward pass needs every rank, so all compute equally many
        computed = own + [order[0]] * (most - len(own))
    answers: list[Labelled] = []
    was_training = engine.model.training
    engine.model.eval()
    try:
        with torch.no_grad(), engine.whole():
            for start in range(0, most, rows_at_once):
                between()
                batch = [requests[index] for index in computed[start : start + rows_at_once]]
                answers += _answers(engine, batch, max_length) if batch else []
    finally:
        engine.model.train(was_training)
    answered = dict(pair for pairs in engine.gather(list(zip(own, answers, strict=False))) for pair in pairs)
    return [answered[index] for index in range(len(requests))]


def _answers(engine: Inference, requests: Sequence[Classify], max_length: int) -> list[Labelled]:
    ids, mask = padded([shortened(request.text_ids, max_length, request.closing) for request in requests])
    scores = engine.forward(input_ids=ids.to(engine.device), attention_mask=mask.to(engine.device))
    found = probabilities_of(scores, several=requests[0].several).tolist()
    return [_labelled(request, probabilities) for request, probabilities in zip(requests, found, strict=True)]


def shortened(ids: Sequence[int], length: int, closing: int) -> list[int]:
    """Return the beginning of a text's tokens, with its last `closing` tokens, which say that it ends."""
    return list(ids) if len(ids) <= length else [*ids[: length - closing], *ids[len(ids) - closing :]]


def _labelled(request: Classify, probabilities: Sequence[float]) -> Labelled:
    ordered = sorted(zip(request.classes, probabilities, strict=True), key=lambda pair: -pair[1])
    labels = tuple(name for name, score in ordered if score >= HALF) if request.several else (ordered[0][0],)
    return Labelled(", ".join(labels), cut=False, labels=labels, several=request.several, scores=dict(ordered))
