"""Language modeling: the model continues plain text. Every token but the first of a text has loss, exactly once.

trainer/text/pieces.py splits long texts. Tests: tests/trainer/tasks/test_conformance.py, tests/trainer/text/.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.api.sources import Columns
from finetune.api.tasks import TASKS, TaskName
from trainer.data.layout import FirstRows, Layout, mapping, texts_of
from trainer.data.reading import Row
from trainer.data.rows import Piece, PieceCount, Sample, Skipped
from trainer.data.rowstore import sizes_of
from trainer.data.sampled import Keep, Sampled, in_memory
from trainer.tasks.base import Task
from trainer.text.example import TextExample
from trainer.text.findings import end_findings, text_findings
from trainer.text.pieces import count_pieces, part_of, pieces_of, pieces_of_all, varied_piece

if TYPE_CHECKING:
    from trainer.objectives.causal import CausalObjective

TEXT_NAMES = ("text", "content", "document")
SAMPLE_TEXTS = 2000
"""Texts of a data set that the doctor tokenizes: what one text in a hundred has is seen about twenty times."""
SAMPLE_CHARACTERS = 10_000_000
"""Characters of these texts, which are in memory together; only the last text may exceed it."""
LONGEST_TEXTS = 50
"""So many of the longest texts are in the sample, as far as they take no more than half of its characters: whatever grows with the
length of a text shows in them first."""


class LanguageModeling(Task[TextExample]):
    """Continue plain text."""

    facts = TASKS[TaskName.LANGUAGE_MODELING]
    cuts = True

    @property
    def objective(self) -> "CausalObjective":
        """Next-token prediction; imports torch."""
        from trainer.objectives.causal import CAUSAL

        return CAUSAL

    def choose_columns(self, field: str, given: Columns, names: list[str], first: FirstRows | None) -> Layout:
        """Choose the column that the job names, else the only one with a well-known name."""
        found = [name for name in TEXT_NAMES if name in names]
        if given.text is None and "text" not in found and len(found) == 1:
            return Layout({"text": found[0]}, guessed=True)
        return Layout({"text": given.text or "text"})

    def column_advice(self, layout: Layout, column: str, first: FirstRows) -> str:
        """Suggest the column with the longest texts, and the chat task for questions and answers."""
        texts = sorted(texts_of(first, 1), key=first.length, reverse=True)
        naming = f"write columns: {mapping({'text': texts[0]})}" if texts else "name a column that holds text as columns.text"
        if {"prompt", "messages", "completion"} & set(first.names) or any(map(first.holds_turns, first.names)):
            return f"for rows of questions and answers use task: chat, else {naming}"
        return naming

    def read(self, row: Row) -> TextExample | Skipped:
        """Return the row's text; a row with an empty text is skipped."""
        row.refuse_meaning()
        text = row.words("text")
        return text if isinstance(text, Skipped) else TextExample.of(row.origin, text)

    def vary(self, example: TextExample, change: Callable[[str], str]) -> TextExample:
        """Change the whole text: all of it is both read and learned."""
        return replace(example, text=change(example.text))

    def encode(self, example: TextExample, tokenizer: Any, max_length: int) -> list[Piece[TextExample]]:
        """Split the text into pieces of at most `max_length` tokens."""
        return pieces_of(example, tokenizer, max_length)

    def encode_all(self, examples: Iterable[TextExample], tokenizer: Any, max_length: int) -> Iterator[list[Piece[TextExample]]]:
        """Tokenize texts in batches, on all cores."""
        return pieces_of_all(examples, tokenizer, max_length)

    def part(self, piece: Piece[TextExample], tokenizer: Any) -> TextExample:
        """Return the words of a piece under the piece's id, so that each piece is varied independently."""
        return part_of(piece, tokenizer)

    def encode_part(self, piece: Piece[TextExample], varied: TextExample, tokenizer: Any, max_length: int) -> Sample:
        """Replace the words of the piece with the varied ones."""
        return varied_piece(piece, varied.text, tokenizer, max_length)

    def count(self, examples: Sequence[TextExample], tokenizer: Any, max_length: int) -> PieceCount:
        """Count the pieces; for many long texts, estimate from part of them."""
        return count_pieces(examples, tokenizer, max_length)

    def sampled(
        self, name: str, examples: Sequence[TextExample], tokenizer: Any, max_length: int, keep: Keep = in_memory
    ) -> Sampled[TextExample]:
        """Tokenize only a sample of the texts: there may be millions, and they are alike."""
        chosen = _sample(examples)
        pieces = [piece for found in pieces_of_all(chosen, tokenizer, max_length) for piece in found]
        return Sampled(name, len(examples), len(chosen), pieces)

    def findings(self, sides: Sequence[Sampled[TextExample]], tokenizer: Any) -> list[str]:
        """Report a missing end-of-sequence token, and control-token names in texts."""
        return [*end_findings(tokenizer), *(finding for side in sides for finding in text_findings(side, tokenizer))]


def _sample(texts: Sequence[TextExample]) -> list[TextExample]:
    """Return texts spread evenly over the data set, plus the longest ones; of very long texts only some of each."""
    characters = sizes_of(texts)[:, 0]
    if len(texts) <= SAMPLE_TEXTS:
        chosen = np.arange(len(texts))
    else:
        longest = np.argsort(characters, kind="stable")[-LONGEST_TEXTS:]
        chosen = np.union1d(np.arange(SAMPLE_TEXTS) * len(texts) // SAMPLE_TEXTS, longest)
    if characters[chosen].sum() > SAMPLE_CHARACTERS:
        longest = chosen[np.argsort(-characters[chosen], kind="stable")][:LONGEST_TEXTS]
        longest = longest[np.cumsum(characters[longest]) <= SAMPLE_CHARACTERS // 2]
        others = np.random.default_rng(0).permutation(np.setdiff1d(chosen, longest))
        mixed = np.concatenate([longest, others])
        chosen = np.sort(mixed[np.cumsum(characters[mixed]) - characters[mixed] < SAMPLE_CHARACTERS])
    return [texts[index] for index in chosen.tolist()]


TASK = LanguageModeling()
