"""Transcript correction: the model reads what a speech recognizer wrote, and writes what was said.

Tests: tests/trainer/tasks/test_conformance.py, tests/trainer/tasks/test_pairs.py.
"""

from typing import Any

from finetune.api.columns import Columns
from finetune.api.tasks import TASKS as FACTS
from finetune.api.tasks import TaskName
from trainer.data.layout import FirstRows, Layout
from trainer.data.pairs import chosen, columns_advice
from trainer.data.reading import Row
from trainer.data.rows import Skipped
from trainer.tasks.answered import AnsweredPair
from trainer.tasks.base import Task
from trainer.tasks.pairs import AskedPair
from trainer.text.pair import PairExample, references_of

HYPOTHESES, REFERENCES = ("hypothesis", "asr", "prediction"), ("reference", "transcript", "sentence")


class Transcripts(Task[PairExample]):
    """How rows of transcripts are read, whatever learns them."""

    facts = FACTS[TaskName.TRANSCRIPT_CORRECTION]
    answers = ("reference",)

    def choose_columns(self, field: str, given: Columns, names: list[str], first: FirstRows | None) -> Layout:
        """Choose the columns that the job names, else those with well-known names."""
        wanted = {"hypothesis": given.hypothesis, "reference": given.reference}
        return chosen(wanted, {"hypothesis": HYPOTHESES, "reference": REFERENCES}, names)

    def column_advice(self, layout: Layout, column: str, first: FirstRows) -> str:
        """Suggest the first two columns of text."""
        return columns_advice(("hypothesis", "reference"), first)

    def read(self, row: Row) -> PairExample | Skipped:
        """Read what was recognized and what was said.

        An empty hypothesis is what a recognizer wrote, all of whose words are missing; null says that there is none. An empty
        reference cannot be told from one that nobody wrote, and has no error rate of its own.
        """
        row.refuse_meaning(answers=True)
        value = row.value("hypothesis")
        words = "" if isinstance(value, str) and not value.strip() else row.words("hypothesis")
        if isinstance(words, Skipped):
            return words
        references = references_of(row, "reference", row.value("reference"))
        return references if isinstance(references, Skipped) else PairExample.of(row.origin, words, references)

    def unlearned(self, example: PairExample) -> str:
        """Leave out empty hypotheses: there is nothing to correct, and who learns an answer to nothing learns to invent one."""
        return "" if example.given else "the recognizer wrote nothing"


class AskedCorrection(AskedPair[PairExample], Transcripts):
    """Write what was said, when asked to."""

    def question(self, example: PairExample) -> str:
        """Return the instruction with what was recognized."""
        return f"Correct this transcript:\n\n{example.given}"

    def wording(self, languages: tuple[str, str] | None, tokenizer: Any) -> str:
        """Return the question for a text."""
        return self.question(PairExample.of("", "{text}", ("",)))


class AnsweredCorrection(AnsweredPair[PairExample], Transcripts):
    """Write what was said; the encoder reads what was recognized alone."""


TASKS = (AskedCorrection(), AnsweredCorrection())
