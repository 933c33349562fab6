"""Measure a model on held-out rows, over all ranks: perplexity on every row, text metrics on generated answers.

The figures do not depend on batch size or number of ranks: sums are reduced, means taken once.
Tests: tests/trainer/test_measure.py, tests/trainer/test_loop.py and engine/test_invariance.py (perplexity), test_run.py (whole).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from trainer.batches import collate, deal_evaluation
from trainer.config.sections import Evaluation, Generation, Task
from trainer.data import Example, Tokens, prompt_and_reference
from trainer.engine import Engine
from trainer.evaluation import Figure, Perplexity, figures, generate, text_metrics
from trainer.loop import accepts_logits_to_keep, forward_loss

SAMPLE_ANSWERS = 3
"""Answers that the report shows, base beside tuned; of a chat they are generated whatever metrics are wanted."""


@dataclass(frozen=True)
class Answer:
    """One test row and what the model made of its prompt."""

    prompt: str
    reference: str
    answer: str


@dataclass(frozen=True)
class Measurement:
    """Figures of one model on the test rows; none when there are no test rows."""

    perplexity: Perplexity | None = None
    text: dict[str, Figure] = field(default_factory=dict)
    answers: tuple[Answer, ...] = ()

    def named(self) -> dict[str, Figure]:
        """Return all figures with their signatures, for the report."""
        return figures(self.perplexity, self.text) if self.perplexity is not None else {}

    def figures(self) -> dict[str, float]:
        """Return plain figures by name, for the progress record."""
        return {name: figure.value for name, figure in self.named().items()}

    def to_state(self) -> dict[str, Any]:
        """Return the form that a checkpoint keeps."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Measurement":
        """Return the measurement that a checkpoint kept."""
        perplexity = Perplexity(**state["perplexity"]) if state["perplexity"] is not None else None
        text = {name: Figure(**figure) for name, figure in state["text"].items()}
        return cls(perplexity, text, tuple(Answer(**answer) for answer in state["answers"]))


def perplexity_figures(perplexity: Perplexity) -> dict[str, float]:
    """Return perplexity, and bits per byte, which compares models of different tokenizers."""
    return {name: figure.value for name, figure in figures(perplexity, {}).items()}


def measure_perplexity(engine: Engine, rows: Sequence[Tokens], batch_size: int, between: Callable[[], None] = lambda: None) -> Perplexity:
    """Return the token-weighted perplexity of all rows; on every rank the same.

    `between` is called on every rank before each batch; it may raise to end the measurement, on all ranks alike.
    """
    was_training = engine.model.training
    engine.model.eval()
    keeps_positions = accepts_logits_to_keep(engine)
    nll = 0.0
    with torch.no_grad():
        for turn in deal_evaluation(rows, engine.rank, engine.world_size, batch_size):
            between()
            # A rank without rows computes along with the first one: a sharded forward needs every rank.
            batch = collate(turn or rows[:1]).to(engine.device)
            sums = forward_loss(engine, batch, 0.0, keeps_positions=keeps_positions)
            nll += float(sums.nll) if turn is not None else 0.0
    engine.model.train(was_training)
    total = engine.sums_over_ranks([nll])[0]
    return Perplexity(nll_sum=total, tokens=sum(sum(row.loss_mask) for row in rows), bytes=sum(row.loss_bytes for row in rows))


def wanted_metrics(evaluation: Evaluation) -> list[str]:
    """Return the text metrics of a chat that are asked for, by default all."""
    from trainer.evaluation import METRICS

    return [name for name in METRICS if evaluation.metrics is None or name in evaluation.metrics]


def measure(engine: Engine, tokenizer: Any, examples: Sequence[Example], rows: Sequence[Tokens], task: Task, evaluation: Evaluation,
            batch_size: int) -> Measurement:  # fmt: skip
    """Return all figures of the model on the test rows; on every rank the same. `rows` are the tokenized `examples`."""
    perplexity = measure_perplexity(engine, rows, batch_size)
    if task is not Task.CHAT:
        return Measurement(perplexity)
    names, generation = wanted_metrics(evaluation), evaluation.generation or Generation()
    chosen = examples[: generation.samples if names else min(generation.samples, SAMPLE_ANSWERS)]
    prompts, references = zip(*(prompt_and_reference(example, tokenizer) for example in chosen), strict=True)
    texts = generate_over_ranks(engine, tokenizer, prompts, generation.max_new_tokens, batch_size)
    answers = tuple(
        Answer(last_user_turn(example), reference, text) for example, reference, text in zip(chosen, references, texts, strict=True)
    )
    return Measurement(perplexity, text_metrics(list(references), list(texts), names) if names else {}, answers)


def generate_over_ranks(
    engine: Engine, tokenizer: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, batch_size: int
) -> list[str]:
    """Return one answer per prompt, in order, on every rank; the prompts are shared out over the ranks."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    own = order[engine.rank :: engine.world_size]
    # Every rank generates for as many prompts, for the same reason as in measure_perplexity.
    turns = -(-len(prompts) // engine.world_size)
    padded = own + [order[0]] * (turns - len(own))
    texts = generate(
        engine.model, tokenizer, [list(prompts[index]) for index in padded], max_new_tokens, batch_size, synced=engine.shards_parameters
    )
    answered = dict(pair for rank_pairs in engine.gather(list(zip(own, texts, strict=False))) for pair in rank_pairs)
    return [answered[index] for index in range(len(prompts))]


def last_user_turn(example: Example) -> str:
    """Return what the user said last, for the sample answers of the report."""
    return next((message.content for message in reversed(example.messages or ()) if message.role == "user"), "")
