"""Finding an answer in a text: the model scores every token as the first and as the last one of the answer.

A sample ends with the two right positions, which the model does not read (trainer/data/spanrow.py).
Tests: tests/trainer/objectives/test_span.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from finetune.api.tasks import ModelFamily
from trainer.data.rows import Sample
from trainer.data.spanrow import MAY_LACK, POSITIONS, TARGETS, segments
from trainer.objectives.base import FixedTargets, Forward, LossSums, Tensors
from trainer.objectives.family import Family
from trainer.objectives.penalties import NO_PENALTIES, Penalties, both_ways
from trainer.objectives.reading import padded


def spans_family(*, may_lack: bool) -> Family:
    """Return the family of models that find spans; `may_lack`: they may say that there is none."""
    names = {number: name for name, number in POSITIONS.items()}
    settings = {"id2label": names, "label2id": POSITIONS | (MAY_LACK if may_lack else {})}
    # PEFT's own kind for these models forgets token_type_ids: they would read the question and the text as one.
    return Family(ModelFamily.ENCODER, "AutoModelForQuestionAnswering", "FEATURE_EXTRACTION", settings, new_head=True)


SPANS = spans_family(may_lack=False)


@dataclass(frozen=True)
class SpanBatch(Tensors):
    """Samples padded on the right to one length, with the positions to find."""

    inputs: Mapping[str, Tensor]
    """`input_ids`, `attention_mask` and `token_type_ids`, each (rows, length)."""
    targets: Tensor
    """(rows, 2): the right first and last position."""
    known: Tensor
    """(rows,): whether they are right; in a row whose text does not hold its answer no position is."""
    tokens: int
    """Number of tokens, excluding padding."""
    units: int
    """Two for each row with targets: its first and its last position."""

    def twice(self) -> "SpanBatch":
        """Return the batch with each row a second time: of two rows of one forward pass, dropout leaves out other numbers."""
        again = {name: torch.cat([value, value]) for name, value in self.inputs.items()}
        return replace(self, inputs=again, targets=torch.cat([self.targets] * 2), known=torch.cat([self.known] * 2))


class SpanObjective(FixedTargets):
    """The first and the last token of an answer, each chosen among the tokens of the row."""

    def __init__(self, family: Family) -> None:
        self.family = family

    def collate(self, samples: Sequence[Sample], *, packed: bool = False) -> SpanBatch:
        """Pad `samples`, at least one, into a batch; rows of encoders are never packed."""
        if packed:
            raise ValueError("rows with spans cannot be packed")
        inputs = pair_inputs([(row.read, row.targets[0]) for row in samples])
        units = [sum(row.loss_mask) for row in samples]
        targets = torch.tensor([list(row.targets[-TARGETS:]) for row in samples])
        return SpanBatch(inputs, targets, torch.tensor(units) > 0, int(inputs["attention_mask"].sum()), sum(units))

    def loss(self, forward: Forward, batch: SpanBatch, penalties: Penalties = NO_PENALTIES) -> LossSums:
        """Return the sums of one batch over first and last positions; with R-Drop each row is computed twice, and both count half."""
        base = penalties.of_base(lambda: log_probabilities(forward, batch.inputs))
        passes = 2 if penalties.r_drop_alpha else 1
        computed = batch if passes == 1 else batch.twice()
        scores = log_probabilities(forward, computed.inputs)
        nll = _right(scores, computed).sum() / passes
        objective, smoothing = nll, penalties.label_smoothing
        if smoothing:
            mask = computed.inputs["attention_mask"].unsqueeze(-1)
            each = -(scores.masked_fill(mask == 0, 0.0).sum(dim=1) / mask.sum(dim=1))
            objective = (1 - smoothing) * nll + smoothing * (each * computed.known.unsqueeze(1)).sum() / passes
        if base is not None:
            objective = objective + penalties.base_kl_weight * _divergence(torch.cat([base] * passes), scores, computed.known) / passes
        if passes == 2:
            objective = objective + penalties.r_drop_alpha * both_ways(lambda one, other: _divergence(one, other, batch.known), scores)
        return LossSums(objective=objective, nll=nll.detach())

    def nll(self, forward: Forward, batch: SpanBatch) -> Tensor:
        """Return the negative log-likelihood of each row's two positions, in nats: (rows,), float64, on the CPU; 0 without targets."""
        return _right(log_probabilities(forward, batch.inputs), batch).double().sum(dim=1).cpu()


SPAN, SPAN_OR_NONE = SpanObjective(SPANS), SpanObjective(spans_family(may_lack=True))


def pair_inputs(rows: Sequence[tuple[Sequence[int], int]]) -> dict[str, Tensor]:
    """Return the arguments of a model for rows of tokens, each with where its second text begins, padded on the right."""
    ids, mask = padded([row for row, _ in rows])
    types, _ = padded([segments(len(row), second) for row, second in rows])
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def _right(scores: Tensor, batch: SpanBatch) -> Tensor:
    """Return the negative log-probability of both targets of each row, (rows, 2): 0 for a row without."""
    return -scores.gather(1, batch.targets.unsqueeze(1)).squeeze(1) * batch.known.unsqueeze(1)


def _divergence(scores: Tensor, other: Tensor, known: Tensor) -> Tensor:
    """Return the sum of KL(p || q) over both positions of the rows with targets; log-probabilities (rows, length, 2), -inf for padding."""
    padding = scores == -torch.inf
    own, others = scores.masked_fill(padding, 0.0), other.masked_fill(padding, 0.0)
    each = (scores.exp() * (own - others)).sum(dim=1)
    return (each * known.unsqueeze(1)).sum()


def log_probabilities(forward: Forward, inputs: Mapping[str, Tensor]) -> Tensor:
    """Return the log-probability of each position as the first and as the last of the answer: (rows, length, 2); -inf for padding."""
    return functional.log_softmax(scores_of(forward, inputs), dim=1)


def scores_of(forward: Forward, inputs: Mapping[str, Tensor]) -> Tensor:
    """Return the model's own score of each position as the first and as the last of the answer: (rows, length, 2); -inf for padding."""
    accepted = {name: value for name, value in inputs.items() if name in forward.arguments}
    padding = (inputs["attention_mask"] == 0).unsqueeze(-1)
    return forward.compute(**accepted).float().masked_fill(padding, -torch.inf)
