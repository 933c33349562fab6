"""Classification of whole texts by an encoder: one class of several, or of each class whether it applies.

A sample's tail is the index of its class, or one 0 or 1 for each class, where rows may have several labels. Test:
tests/trainer/objectives/test_classification.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as functional
from torch import Tensor

from finetune.api.tasks import ModelFamily
from trainer.data.rows import Sample
from trainer.objectives.base import FixedTargets, Forward, LossSums, Tensors
from trainer.objectives.family import Family
from trainer.objectives.penalties import NO_PENALTIES, Penalties, both_ways, divergence_of_classes, divergence_of_labels
from trainer.objectives.reading import read_inputs, refuse_packing


@dataclass(frozen=True)
class ClassBatch(Tensors):
    """Texts padded to one length, each with its class or classes."""

    inputs: Mapping[str, Tensor]
    targets: Tensor
    """(rows,): the index of each row's class; or (rows, classes): 1.0 for those that apply, else 0.0."""
    tokens: int
    """Number of tokens, excluding padding."""

    @property
    def units(self) -> int:
        """Number of decisions: one a row, or one a row and class."""
        return self.targets.numel()

    def twice(self) -> "ClassBatch":
        """Return the batch with each row a second time: of two rows of one forward pass, dropout leaves out other numbers."""
        again = {name: torch.cat([value, value]) for name, value in self.inputs.items()}
        return replace(self, inputs=again, targets=torch.cat([self.targets, self.targets]))


@dataclass(frozen=True)
class ClassificationObjective(FixedTargets):
    """Cross-entropy over classes; with several labels a row, binary cross-entropy of each class."""

    classes: tuple[str, ...]
    """Empty before they are known, as where a model is only tried: it then has a head of any size."""
    several: bool = False
    """Whether a row may have any number of labels."""

    @property
    def family(self) -> Family:
        """Encoders with a head for these classes, whose names are in their configuration."""
        problem = "multi_label_classification" if self.several else "single_label_classification"
        settings = {
            "num_labels": len(self.classes),
            "id2label": dict(enumerate(self.classes)),
            "label2id": {name: number for number, name in enumerate(self.classes)},
            "problem_type": problem,
        }
        auto_class = "AutoModelForSequenceClassification"
        return Family(ModelFamily.ENCODER, auto_class, "SEQ_CLS", settings if self.classes else {}, new_head=True)

    def collate(self, samples: Sequence[Sample], *, packed: bool = False) -> ClassBatch:
        """Pad what `samples`, at least one, read; take their classes from their tails. ValueError for a sample without one."""
        refuse_packing(packed)
        for row in samples:
            if not row.targets:
                raise ValueError(f"the sample {row.id!r} has no class: its tail is empty")
        inputs, tokens = read_inputs(samples)
        ends = torch.tensor([list(row.targets) for row in samples])
        return ClassBatch(inputs, ends.float() if self.several else ends.squeeze(1).long(), tokens)

    def gold(self, sample: Sample) -> tuple[int, ...]:
        """Return the indices of a sample's classes."""
        if not self.several:
            return (int(sample.targets[0]),)
        return tuple(number for number, applies in enumerate(sample.targets) if applies)

    def loss(self, forward: Forward, batch: ClassBatch, penalties: Penalties = NO_PENALTIES) -> LossSums:
        """Return the sums of one batch; smoothing spreads its share evenly over the classes, or over yes and no of each class.

        With R-Drop each row is computed twice, and both losses count half.
        """
        divergence = divergence_of_labels if self.several else divergence_of_classes
        base = penalties.of_base(lambda: self._scores(forward, batch))
        passes = 2 if penalties.r_drop_alpha else 1
        computed = batch if passes == 1 else batch.twice()
        scores = self._scores(forward, computed)
        nll = self._nll(scores, computed.targets).sum() / passes
        objective, smoothing = nll, penalties.label_smoothing
        if smoothing:
            objective = (1 - smoothing) * nll + smoothing * self._evenly(scores) / passes
        if base is not None:
            objective = objective + penalties.base_kl_weight * divergence(torch.cat([base] * passes), scores) / passes
        if passes == 2:
            objective = objective + penalties.r_drop_alpha * both_ways(divergence, scores)
        return LossSums(objective=objective, nll=nll.detach())

    def nll(self, forward: Forward, batch: ClassBatch) -> Tensor:
        """Return the negative log-likelihood of each row's classes, in nats: (rows,), float64, on the CPU."""
        return self._nll(self._scores(forward, batch), batch.targets).double().cpu()

    def probabilities(self, forward: Forward, batch: ClassBatch) -> Tensor:
        """Return the probability of each class: (rows, classes), float64, on the CPU; of one label a row they sum to 1."""
        return probabilities_of(self._scores(forward, batch), several=self.several)

    def _scores(self, forward: Forward, batch: ClassBatch) -> Tensor:
        return forward.compute(**batch.inputs).float()

    def _evenly(self, scores: Tensor) -> Tensor:
        """Return the sum over rows of the cross-entropy with classes, or yes and no, that are equally likely."""
        if self.several:
            return functional.binary_cross_entropy_with_logits(scores, torch.full_like(scores, 0.5), reduction="sum")
        return -functional.log_softmax(scores, dim=-1).mean(dim=-1).sum()

    def _nll(self, scores: Tensor, targets: Tensor) -> Tensor:
        if self.several:
            return functional.binary_cross_entropy_with_logits(scores, targets, reduction="none").sum(dim=-1)
        return functional.cross_entropy(scores, targets, reduction="none")


def probabilities_of(scores: Tensor, *, several: bool) -> Tensor:
    """Return the probabilities of classes with these scores, (rows, classes), in float64 on the CPU."""
    exact = scores.detach().double().cpu()
    return exact.sigmoid() if several else exact.softmax(dim=-1)
