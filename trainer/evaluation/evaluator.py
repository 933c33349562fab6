"""Measure a model on held-out rows, over all ranks: perplexity on every row, text metrics on generated answers.

The figures do not depend on batch size or number of ranks: sums are reduced, means taken once. Memory stays below that of a
training step: no more rows at once, and no second copy of their logits. A rank without rows waits, unless parameters are sharded.
Tests: tests/trainer/evaluation/test_evaluator.py, tests/trainer/engine/test_invariance.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from finetune.api.metrics import MetricName, Score, score_of
from finetune.api.sections import Evaluation, Generation
from finetune.api.tasks import TASKS, TaskName
from trainer.chat.tokens import prompt_and_reference
from trainer.data.rows import Example, Sample
from trainer.engine.base import Engine
from trainer.evaluation.figures import Figure, Perplexity, figures
from trainer.evaluation.generation import Generated, generate
from trainer.evaluation.metrics.text import left_out, text_metrics
from trainer.objectives.base import Forward, Objective
from trainer.training.batches import deal_evaluation

SAMPLE_ANSWERS = 3
"""Answers that the report shows, base beside tuned."""


@dataclass(frozen=True)
class Answer:
    """One test row and what the model made of its prompt."""

    prompt: str
    reference: str
    answer: str
    cut: bool = False
    """The limit of tokens ended it."""


@dataclass(frozen=True)
class Measurement:
    """Figures of one model on the test rows; none when there are no test rows."""

    perplexity: Perplexity | None = None
    text: dict[MetricName, Figure] = field(default_factory=dict)
    answers: tuple[Answer, ...] = ()

    def named(self) -> dict[MetricName, Figure]:
        """Return all figures with their signatures, for the report."""
        return figures(self.perplexity, self.text) if self.perplexity is not None else {}

    def figures(self) -> dict[MetricName, float]:
        """Return plain figures by name, for the progress record; what is undefined is not among them."""
        return {name: figure.value for name, figure in self.named().items() if figure.value is not None}

    def score(self, task: TaskName, step: int) -> Score | None:
        """Return what a model of this task is judged by, with the step of its weights; None where it is undefined."""
        return score_of(self.figures(), TASKS[task].score, step)

    @property
    def cut_answers(self) -> int:
        """Number of answers that the limit of tokens ended."""
        return sum(answer.cut for answer in self.answers)

    def to_state(self) -> dict[str, Any]:
        """Return the form that a checkpoint keeps."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Measurement":
        """Return the measurement that a checkpoint kept."""
        perplexity = Perplexity(**state["perplexity"]) if state["perplexity"] is not None else None
        text = {MetricName(name): Figure(**figure) for name, figure in state["text"].items()}
        return cls(perplexity, text, tuple(Answer(**answer) for answer in state["answers"]))


def perplexity_figures(perplexity: Perplexity) -> dict[MetricName, float]:
    """Return perplexity, and bits per byte, which compares models of different tokenizers."""
    return Measurement(perplexity).figures()


def measure_perplexity(engine: Engine, objective: Objective[Any], rows: Sequence[Sample], batch_size: int,
                       between: Callable[[], None] = lambda: None, tokens_at_once: int | None = None) -> Perplexity:  # fmt: skip
    """Return the token-weighted perplexity of all rows; on every rank the same.

    A batch has at most `batch_size` rows and, if it has more than one, `tokens_at_once` tokens with its padding.
    `between` is called on every rank before each batch; it may raise to end the measurement, on all ranks alike.
    """
    was_training = engine.model.training
    engine.model.eval()
    forward = Forward.of(engine.model, engine.forward)
    nll = 0.0
    try:
        with torch.no_grad():
            for turn in deal_evaluation(rows, engine.rank, engine.world_size, batch_size, tokens_at_once):
                between()
                if turn is not None or engine.shards_parameters:
                    # A sharded forward needs every rank: one without rows of its own computes along with a row.
                    found = objective.nll(forward, objective.collate(turn or rows[:1]).to(engine.device))
                    nll += found if turn is not None else 0.0
    finally:
        engine.model.train(was_training)
    total = engine.sums_over_ranks([nll])[0]
    return Perplexity(nll_sum=total, tokens=sum(sum(row.loss_mask) for row in rows), bytes=sum(row.loss_bytes for row in rows))


def measure(engine: Engine, objective: Objective[Any], tokenizer: Any, examples: Sequence[Example], rows: Sequence[Sample], task: TaskName,
            evaluation: Evaluation, batch_size: int, tokens_at_once: int, max_length: int) -> Measurement:  # fmt: skip
    """Return all figures of the model on the test rows; on every rank the same. `rows` are the tokenized `examples`.

    `max_length` is the job's largest length of a row; a longer prompt loses its beginning. Answers are generated only
    where a metric needs them.
    """
    perplexity = measure_perplexity(engine, objective, rows, batch_size, tokens_at_once=tokens_at_once)
    names, generation = evaluation.text_metrics_of(task), evaluation.generation or Generation()
    if not names:
        return Measurement(perplexity)
    chosen = examples[: generation.samples]
    prompts, references = zip(*(prompt_and_reference(example, tokenizer) for example in chosen), strict=True)
    missing = left_out(references, names)
    if len(missing) == len(names):
        return Measurement(perplexity, missing)
    kept = [prompt[-max_length:] for prompt in prompts]
    rows_at_once = max(1, tokens_at_once // (max(map(len, kept)) + generation.max_new_tokens))
    found = generate_over_ranks(engine, tokenizer, kept, generation.max_new_tokens, rows_at_once)
    answers = tuple(
        Answer(last_user_turn(example), reference, answer.text, answer.cut)
        for example, reference, answer in zip(chosen, references, found, strict=True)
    )
    return Measurement(perplexity, text_metrics(references, [answer.text for answer in found], names), answers)


def generate_over_ranks(
    engine: Engine, tokenizer: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, batch_size: int
) -> list[Generated]:
    """Return one answer per prompt, in order, on every rank; the prompts are shared out over the ranks."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    own = order[engine.rank :: engine.world_size]
    computed = own
    if engine.shards_parameters:
        # Every rank generates for as many prompts, for the same reason as in measure_perplexity.
        computed = own + [order[0]] * (-(-len(prompts) // engine.world_size) - len(own))
    answers = generate(
        engine.model, tokenizer, [list(prompts[index]) for index in computed], max_new_tokens, batch_size, synced=engine.shards_parameters
    )
    answered = dict(pair for rank_pairs in engine.gather(list(zip(own, answers, strict=False))) for pair in rank_pairs)
    return [answered[index] for index in range(len(prompts))]


def last_user_turn(example: Example) -> str:
    """Return what the user said last, for the sample answers of the report."""
    return next((message.content for message in reversed(example.messages or ()) if message.role == "user"), "")
