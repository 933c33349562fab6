"""Language modeling: the model continues plain text, and every token but the first has loss, once; an encoder names hidden tokens.

trainer/text/pieces.py and masked.py split long texts. Tests: tests/trainer/tasks/test_conformance.py, tests/trainer/text/.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.api.columns import Columns
from finetune.api.errors import InputError
from finetune.api.tasks import TASKS as FACTS
from finetune.api.tasks import ModelFamily, TaskName
from trainer.data.layout import FirstRows, Layout, mapping, texts_of
from trainer.data.masking import Masking
from trainer.data.reading import Row
from trainer.data.rows import Piece, PieceCount, Sample, Skipped
from trainer.data.rowstore import sizes_of
from trainer.data.sampled import Keep, Sampled, in_memory
from trainer.tasks.base import Fill, Generate, Request, Task
from trainer.text.encoding import around, encode_prompt, encode_text
from trainer.text.example import TextExample
from trainer.text.findings import end_findings, text_findings
from trainer.text.masked import around_masks, count_masked, hiding, masked_part, masked_pieces, varied_masked
from trainer.text.pieces import count_pieces, part_of, pieces_of_all, varied_piece

if TYPE_CHECKING:
    from trainer.objectives.causal import CausalObjective
    from trainer.objectives.masked import MaskedObjective

TEXT_NAMES = ("text", "content", "document")
SAMPLE_TEXTS = 2000
"""Texts of a data set that the doctor tokenizes: what one text in a hundred has is seen about twenty times."""
SAMPLE_CHARACTERS = 10_000_000
"""Characters of these texts, which are in memory together; only the last text may exceed it."""
LONGEST_TEXTS = 50
"""So many of the longest texts are in the sample, as far as they take no more than half of its characters: whatever grows with the
length of a text shows in them first."""


class Texts(Task[TextExample]):
    """What both ways have in common: the rows."""

    facts = FACTS[TaskName.LANGUAGE_MODELING]
    cuts = True
    rewritable = False

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
        (pieces,) = self.encode_all([example], tokenizer, max_length)
        return pieces

    def sampled(
        self, name: str, examples: Sequence[TextExample], tokenizer: Any, max_length: int, keep: Keep = in_memory
    ) -> Sampled[TextExample]:
        """Tokenize only a sample of the texts: there may be millions, and they are alike."""
        chosen = _sample(examples)
        pieces = [piece for found in self.encode_all(chosen, tokenizer, max_length) for piece in found]
        return Sampled(name, len(examples), len(chosen), pieces)

    def findings(self, sides: Sequence[Sampled[TextExample]], tokenizer: Any) -> list[str]:
        """Report control-token names in texts."""
        return [finding for side in sides for finding in text_findings(side, tokenizer)]


class ContinuedTexts(Texts):
    """Continue plain text."""

    family = ModelFamily.CAUSAL

    @property
    def objective(self) -> "CausalObjective":
        """Next-token prediction; imports torch."""
        from trainer.objectives.causal import CAUSAL

        return CAUSAL

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

    def ask(self, example: TextExample, tokenizer: Any) -> Request:
        """Ask how the text goes on."""
        return Generate(("",), example.text, encode_prompt(example.text, tokenizer))

    def findings(self, sides: Sequence[Sampled[TextExample]], tokenizer: Any) -> list[str]:
        """Report a missing end-of-sequence token, and control-token names in texts."""
        return [*end_findings(tokenizer), *super().findings(sides, tokenizer)]


class MaskedTexts(Texts):
    """Name hidden tokens of a text."""

    family = ModelFamily.ENCODER

    @property
    def objective(self) -> "MaskedObjective":
        """Prediction of hidden tokens; imports torch."""
        from trainer.objectives.masked import MaskedObjective

        return MaskedObjective(Masking.from_known(self.known[0]) if self.known else None)

    def fitting(self, tokenizer: Any) -> "Task[TextExample]":
        """Return the task with what it needs to hide tokens again in every epoch."""
        return self.with_known((hiding(tokenizer).to_known(),))

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Raise InputError for a tokenizer without a token to hide others behind."""
        if tokenizer.mask_token_id is None:
            raise InputError("model", "the tokenizer has no mask token, behind which words could be hidden", "use another model")

    def encode_all(self, examples: Iterable[TextExample], tokenizer: Any, max_length: int) -> Iterator[list[Piece[TextExample]]]:
        """Tokenize texts in batches, on all cores, and hide some tokens: always the same."""
        return masked_pieces(examples, tokenizer, max_length)

    def part(self, piece: Piece[TextExample], tokenizer: Any) -> TextExample:
        """Return the words of a piece under the piece's id, so that each piece is varied independently."""
        return masked_part(piece, tokenizer)

    def encode_part(self, piece: Piece[TextExample], varied: TextExample, tokenizer: Any, max_length: int) -> Sample:
        """Replace the words of the piece with the varied ones."""
        return varied_masked(piece, varied.text, tokenizer, max_length)

    def count(self, examples: Sequence[TextExample], tokenizer: Any, max_length: int) -> PieceCount:
        """Count the pieces."""
        return count_masked(examples, tokenizer, max_length)

    def ask(self, example: TextExample, tokenizer: Any) -> Request:
        """Ask for the words that a text lacks, where it has the name of the mask token."""
        parts = [encode_text(part, tokenizer, special=False).input_ids for part in around_masks(example.text, tokenizer)]
        before, after = around(tokenizer)
        ids = [*before, *parts[0], *(token for part in parts[1:] for token in (tokenizer.mask_token_id, *part)), *after]
        return Fill(("",), example.text, tuple(ids), tokenizer.mask_token_id)


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


LANGUAGE_MODELING, MASKED_LANGUAGE_MODELING = ContinuedTexts(), MaskedTexts()
TASKS = (LANGUAGE_MODELING, MASKED_LANGUAGE_MODELING)
