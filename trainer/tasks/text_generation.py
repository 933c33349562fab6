"""Text generation: the model continues a prompt as it is written, without a chat template. Only the completion has loss.

Nothing is put between prompt and completion: who wants a space or a line break there writes it. Tests:
tests/trainer/tasks/test_conformance.py, tests/trainer/tasks/test_text_generation.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from finetune.api.columns import Columns
from finetune.api.tasks import TASKS as FACTS
from finetune.api.tasks import ModelFamily, TaskName
from trainer.data.layout import FirstRows, Layout
from trainer.data.pairs import pair_advice, pair_layout
from trainer.data.reading import Row
from trainer.data.rows import Piece, Skipped
from trainer.data.sampled import Sampled
from trainer.tasks.answered import AnsweredPair
from trainer.tasks.base import Generate, Task
from trainer.text.continuation import continued, prompt_ids
from trainer.text.directions import is_multilingual
from trainer.text.findings import end_findings, pair_findings
from trainer.text.pair import PairExample, references_of

if TYPE_CHECKING:
    from trainer.objectives.causal import CausalObjective


class Completions(Task[PairExample]):
    """How rows of prompts and completions are read, whatever learns them."""

    facts = FACTS[TaskName.TEXT_GENERATION]
    answers = ("completion",)

    def choose_columns(self, field: str, given: Columns, names: list[str], first: FirstRows | None) -> Layout:
        """Choose a prompt and a completion column."""
        return pair_layout(given, names)

    def column_advice(self, layout: Layout, column: str, first: FirstRows) -> str:
        """Suggest two text columns."""
        return pair_advice(layout, column, first)

    def read(self, row: Row) -> PairExample | Skipped:
        """Read prompt and completion as they are written, with the input of an instruction after it."""
        row.refuse_meaning(answers=True)
        prompt = row.words("prompt")
        if isinstance(prompt, Skipped):
            return prompt
        references = references_of(row, "completion", row.value("completion"))
        return references if isinstance(references, Skipped) else PairExample.of(row.origin, row.with_addition(prompt), references)


class Continuation(Completions):
    """Continue a prompt."""

    family = ModelFamily.CAUSAL

    @property
    def objective(self) -> "CausalObjective":
        """Next-token prediction; imports torch."""
        from trainer.objectives.causal import CAUSAL

        return CAUSAL

    def vary(self, example: PairExample, change: Callable[[str], str]) -> PairExample:
        """Change the prompt."""
        return replace(example, given=change(example.given))

    def encode(self, example: PairExample, tokenizer: Any, max_length: int) -> list[Piece[PairExample]]:
        """Write prompt, completion and the end-of-sequence token."""
        return [Piece(example, continued(example.id, example.given, example.answer, tokenizer, max_length))]

    def request(self, example: PairExample, tokenizer: Any) -> Generate:
        """Ask for the completion."""
        references = tuple(reference.strip() for reference in example.references)
        return Generate(references, example.given, prompt_ids(example.given, tokenizer), group=example.group)

    def findings(self, sides: Sequence[Sampled[PairExample]], tokenizer: Any) -> list[str]:
        """Report a missing end-of-sequence token, and control-token names in texts."""
        return [*end_findings(tokenizer), *(finding for side in sides for finding in pair_findings(side, tokenizer))]


class AnsweredPrompt(AnsweredPair[PairExample], Completions):
    """Answer a prompt, which the encoder reads as it is written."""

    def is_likely(self, tokenizer: Any) -> bool:
        """Return whether the model was not made to translate."""
        return not is_multilingual(tokenizer)


TASKS = (Continuation(), AnsweredPrompt())
