"""What is added to the loss, against torch's own divergences in float64: value, gradient, and what padding and packing do to it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, kl_divergence

from finetune.api.sections import Packing
from tests.trainer.fixtures.causal import random_prompts, tiny_model
from tests.trainer.fixtures.encoders import CLASSES, tiny_encoder
from tests.trainer.fixtures.seq2seq import tiny_seq2seq
from trainer.data.rows import Sample
from trainer.data.spanrow import span_sample
from trainer.model.packing import padded_because
from trainer.objectives import outputlayer
from trainer.objectives.base import Forward, arguments_of, probed_forward
from trainer.objectives.causal import CAUSAL
from trainer.objectives.classification import ClassificationObjective
from trainer.objectives.family import CAUSAL_LM
from trainer.objectives.masked import MaskedObjective
from trainer.objectives.penalties import NO_PENALTIES, Penalties
from trainer.objectives.seq2seq import SEQ2SEQ, SEQ2SEQ_LM
from trainer.objectives.span import SPAN, log_probabilities
from trainer.outputs import logits_of

WEIGHT, ALPHA, SMOOTHING = 0.7, 1.3, 0.1


class Two:
    """A tuned model and its base, which a forward pass is of while `as_base` is on."""

    def __init__(self, tuned: Any, base: Any) -> None:
        self.tuned, self.base, self.current = tuned, base, tuned
        tuned.requires_grad_(True)

    @contextmanager
    def as_base(self) -> Iterator[None]:
        self.current = self.base
        try:
            with torch.no_grad():
                yield
        finally:
            self.current = self.tuned

    def forward(self, **inputs: Any) -> Tensor:
        return logits_of(self.current(**inputs))

    def penalties(self, **others: float) -> Penalties:
        return Penalties(base_kl_weight=WEIGHT, as_base=self.as_base, **others)


def samples(tail: bool = False) -> list[Sample]:
    prompts = random_prompts([9, 4, 13])
    return [
        Sample(f"row-{n}", ids, [place >= 2 + n for place in range(len(ids))], 0, truncated=False, tail=len(ids) - 2 - n if tail else 0)
        for n, ids in enumerate(prompts)
    ]


def categorical(base: Tensor, tuned: Tensor) -> Tensor:
    return kl_divergence(Categorical(logits=base.double()), Categorical(logits=tuned.double())).sum()


def gradients(model: Any) -> dict[str, Tensor]:
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    return found


def check(objective: Any, two: Two, forward: Forward, batch: Any, expected: Callable[[Any], Tensor], **others: float) -> None:
    """Compare the loss and its gradients with those of the plain loss and of `expected(model)`, which gives the divergence."""
    plain = objective.loss(forward, batch, Penalties(**others))
    divergence = expected(two.tuned)
    assert float(divergence.detach()) > 0.01
    (plain.objective + WEIGHT * divergence).backward()
    wanted = gradients(two.tuned)

    found = objective.loss(forward, batch, two.penalties(**others))
    found.objective.backward()

    value = float((plain.objective + WEIGHT * divergence).detach())
    assert float(found.objective.detach()) == pytest.approx(value, rel=1e-5)
    assert float(found.nll) == pytest.approx(float(plain.nll), rel=1e-6)
    largest = max(float(gradient.abs().max()) for gradient in wanted.values())
    for name, gradient in gradients(two.tuned).items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-3, atol=1e-5 * largest, msg=lambda said, name=name: f"{name}: {said}")


@pytest.mark.parametrize("smoothing", [0.0, SMOOTHING])
@pytest.mark.parametrize("frozen", [True, False], ids=["chunks from hidden states", "whole logits"])
@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_a_causal_model_is_pulled_to_its_base(monkeypatch: pytest.MonkeyPatch, packed: bool, frozen: bool, smoothing: float) -> None:
    monkeypatch.setattr(outputlayer, "MIN_POSITIONS", 4)
    monkeypatch.setitem(outputlayer.CHUNK_BYTES, "cpu", 1)
    base, tuned = tiny_model(tied=False), tiny_model(tied=False)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lm_head" not in name:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    two = Two(tuned, base)
    if frozen:
        tuned.lm_head.requires_grad_(False)
    forward = probed_forward(tuned, two.forward, CAUSAL_LM)
    if frozen:  # the adapters' case: both models have one output layer
        base.lm_head = tuned.lm_head
    else:
        forward = replace(forward, output_layer=None)
    if packed:
        for model in (base, tuned):
            reads = lambda **inputs: model(**inputs).logits  # noqa: E731, B023
            assert padded_because(model, reads, forward.arguments, Packing.ALWAYS, lambda found: [found]) is None

    def divergence(model: Any) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for row in samples():
            ids, learned = torch.tensor([row.input_ids]), torch.tensor(list(row.loss_mask[1:]), dtype=torch.bool)
            with torch.no_grad():
                of_base = base(ids).logits[0, :-1][learned]
            total = total + categorical(of_base, model(ids).logits[0, :-1][learned])
        return total

    check(CAUSAL, two, forward, CAUSAL.collate(samples(), packed=packed), divergence, label_smoothing=smoothing)


def test_an_encoder_decoder_is_pulled_to_its_base() -> None:
    two = Two(tiny_seq2seq("t5", 320, seed=3).eval(), tiny_seq2seq("t5", 320, seed=4).eval())
    forward = probed_forward(two.tuned, two.forward, SEQ2SEQ_LM)

    def divergence(model: Any) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for row in samples(tail=True):
            given = {
                "input_ids": torch.tensor([list(row.read)]),
                "decoder_input_ids": torch.tensor([[forward.decoder_start, *row.targets[:-1]]]),
            }
            with torch.no_grad():
                of_base = two.base(**given).logits
            total = total + categorical(of_base, model(**given).logits)
        return total

    check(SEQ2SEQ, two, forward, SEQ2SEQ.collate(samples(tail=True)), divergence)


def test_hidden_tokens_are_named_as_by_the_base() -> None:
    objective, name = MaskedObjective(), "AutoModelForMaskedLM"
    two = Two(tiny_encoder(name, seed=3), tiny_encoder(name, seed=4))
    rows = [
        Sample("a", [2, 10, 4, 11, 3, 12], [0, 0, 1, 0, 0, 0], 0, truncated=False, tail=1),
        Sample("b", [2, 4, 4, 3, 13, 14], [0, 1, 1, 0, 0, 0], 0, truncated=False, tail=2),
    ]
    places = {"a": [2], "b": [1, 2]}

    def divergence(model: Any) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for row in rows:
            ids = torch.tensor([list(row.read)])
            with torch.no_grad():
                of_base = two.base(ids).logits[0, places[row.id]]
            total = total + categorical(of_base, model(ids).logits[0, places[row.id]])
        return total

    check(objective, two, Forward(two.forward, arguments_of(two.tuned)), objective.collate(rows), divergence)


TEXTS = [[2, 30, 40, 3], [2, 50, 3], [2, 60, 70, 80, 90, 3]]


def class_rows(objective: ClassificationObjective) -> list[Sample]:
    tails = [[0, 1, 1], [0, 0, 0], [1, 0, 0]] if objective.several else [[2], [0], [1]]
    return [
        Sample(f"row-{place}", [*text, *tail], [0] * len(text) + [1] * len(tail), 0, truncated=False, tail=len(tail))
        for place, (text, tail) in enumerate(zip(TEXTS, tails, strict=True))
    ]


def of_choices(base: Tensor, tuned: Tensor, *, several: bool) -> Tensor:
    if not several:
        return categorical(base, tuned)
    return kl_divergence(Bernoulli(logits=base.double()), Bernoulli(logits=tuned.double())).sum()


SEVERAL = pytest.mark.parametrize("several", [False, True], ids=["one label", "several labels"])


@SEVERAL
@pytest.mark.parametrize("twice", [0.0, ALPHA], ids=["one pass", "and R-Drop"])
def test_classes_are_chosen_as_by_the_base(several: bool, twice: float) -> None:
    objective = ClassificationObjective(CLASSES, several=several)
    two = Two(*(tiny_encoder(objective.family.auto_class, seed=seed, **objective.family.settings) for seed in (3, 4)))

    def divergence(model: Any) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for text in TEXTS:
            with torch.no_grad():
                of_base = two.base(torch.tensor([text])).logits[0]
            total = total + of_choices(of_base, model(torch.tensor([text])).logits[0], several=several)
        return total

    batch = objective.collate(class_rows(objective))
    check(objective, two, Forward(two.forward, arguments_of(two.tuned)), batch, divergence, label_smoothing=SMOOTHING, r_drop_alpha=twice)


def span_rows() -> list[Sample]:
    ids = [([2, 30, 3, 40, 41, 42, 3], 3, (3, 5)), ([2, 31, 3, 43, 3], 3, (3, 3)), ([2, 31, 3, 50, 51, 52, 53, 3], 3, (0, 0))]
    return [span_sample(f"row-{n}", row, second, targets, truncated=False) for n, (row, second, targets) in enumerate(ids)]


def test_spans_are_chosen_as_by_the_base() -> None:
    two = Two(*(tiny_encoder("AutoModelForQuestionAnswering", seed=seed) for seed in (3, 4)))
    forward = Forward(two.forward, arguments_of(two.tuned))

    def divergence(model: Any) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for row in span_rows():
            inputs = SPAN.collate([row]).inputs
            with torch.no_grad():
                of_base = two.base(**inputs)
            tuned = model(**inputs)
            total = total + categorical(of_base.start_logits, tuned.start_logits) + categorical(of_base.end_logits, tuned.end_logits)
        return total

    check(SPAN, two, forward, SPAN.collate(span_rows()), divergence)


class Noisy:
    """Returns other scores for each row and pass, as dropout does, which a test can know: (rows, ...) of learned numbers."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.scores = torch.randn(shape, generator=torch.Generator().manual_seed(6)).requires_grad_()
        self.rows: list[Tensor] = []

    def forward(self, input_ids: Tensor, **_: Any) -> Tensor:
        self.rows.append(input_ids)
        return self.scores[: len(input_ids)]


@SEVERAL
def test_two_passes_over_the_same_rows_count_half_each_and_are_pulled_together(several: bool) -> None:
    objective, noisy = ClassificationObjective(CLASSES, several=several), Noisy((6, 3))
    batch = objective.collate(class_rows(objective))
    forward = Forward(noisy.forward, frozenset({"input_ids"}))

    found = objective.loss(forward, batch, Penalties(r_drop_alpha=ALPHA))
    found.objective.backward()
    [computed] = noisy.rows
    assert torch.equal(computed[:3], computed[3:])

    exact = noisy.scores.detach().double().requires_grad_()
    passes, nll = (exact[:3], exact[3:]), torch.zeros((), dtype=torch.float64)
    for scores in passes:
        nll = nll - (Bernoulli(logits=scores) if several else Categorical(logits=scores)).log_prob(batch.targets).sum() / 2
    pulled = sum(of_choices(one, other, several=several) for one, other in (passes, passes[::-1])) / 2
    (nll + ALPHA * pulled).backward()
    assert float(found.nll) == pytest.approx(float(nll.detach()), rel=1e-6)
    assert float(found.objective.detach()) == pytest.approx(float((nll + ALPHA * pulled).detach()), rel=1e-6)
    torch.testing.assert_close(noisy.scores.grad.double(), exact.grad, rtol=1e-5, atol=1e-6)


def test_two_passes_over_spans_leave_out_padding_and_rows_without_an_answer() -> None:
    rows = span_rows()
    rows[2] = replace(rows[2], loss_mask=[0] * len(rows[2].input_ids))  # its text does not hold its answer
    batch, noisy = SPAN.collate(rows), Noisy((6, 8, 2))
    found = SPAN.loss(Forward(noisy.forward, frozenset({"input_ids"})), batch, Penalties(r_drop_alpha=ALPHA))
    found.objective.backward()

    exact, nll, pulled = noisy.scores.detach().double().requires_grad_(), 0.0, 0.0
    for row, (length, targets) in enumerate([(7, (3, 5)), (5, (3, 3))]):
        for end, target in enumerate(targets):
            one, other = (Categorical(logits=exact[row + again, :length, end]) for again in (0, 3))
            nll = nll - (one.log_prob(torch.tensor(target)) + other.log_prob(torch.tensor(target))) / 2
            pulled = pulled + (kl_divergence(one, other) + kl_divergence(other, one)) / 2
    (nll + ALPHA * pulled).backward()
    assert float(found.objective.detach()) == pytest.approx(float((nll + ALPHA * pulled).detach()), rel=1e-6)
    torch.testing.assert_close(noisy.scores.grad.double(), exact.grad, rtol=1e-5, atol=1e-6)


def test_nothing_is_computed_twice_where_nothing_is_compared() -> None:
    objective, noisy = ClassificationObjective(CLASSES), Noisy((3, 3))
    objective.loss(Forward(noisy.forward, frozenset()), objective.collate(class_rows(objective)), NO_PENALTIES)

    assert [len(rows) for rows in noisy.rows] == [3]


def test_of_one_pass_and_itself_nothing_is_pulled() -> None:
    inputs = SPAN.collate(span_rows()).inputs
    model = tiny_encoder("AutoModelForQuestionAnswering").eval()
    forward = Forward(lambda **given: logits_of(model(**given)), arguments_of(model))
    assert log_probabilities(forward, inputs).shape == (3, 8, 2)

    once, twice = (SPAN.loss(forward, SPAN.collate(span_rows()), Penalties(r_drop_alpha=alpha)) for alpha in (0.0, ALPHA))

    assert float(twice.objective.detach()) == pytest.approx(float(once.objective.detach()), rel=1e-5)
