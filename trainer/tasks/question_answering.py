"""Question answering from a given text: a causal model writes the answer, an encoder finds it in the text.

trainer/text reads rows and cuts long texts into windows. Rows about the same text are always on the same side of a split. Tests:
tests/trainer/tasks/test_conformance.py, tests/trainer/tasks/test_question_answering.py.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from finetune.api.columns import Columns
from finetune.api.errors import InputError
from finetune.api.tasks import TASKS as FACTS
from finetune.api.tasks import ModelFamily, TaskName
from trainer.data.layout import FirstRows, Layout
from trainer.data.reading import Languages, Row
from trainer.data.rows import Piece, PieceCount, Sample, Skipped
from trainer.data.sampled import Keep, Sampled, in_memory
from trainer.data.spanrow import MAY_LACK
from trainer.tasks.answered import AnsweredText
from trainer.tasks.base import TRAIN, Extract, Task
from trainer.tasks.pairs import AskedText
from trainer.text.questionfindings import lost_answers, question_findings, writing_findings
from trainer.text.questionrows import OF_ANSWERS, question_advice, question_in, question_layout
from trainer.text.questions import UNANSWERABLE, QuestionExample
from trainer.text.shortening import SHORTENED, ending, shortened
from trainer.text.spans import count_windows, span_pieces, varied_span
from trainer.text.windows import form_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from trainer.objectives.span import SpanObjective

SAMPLE_ROWS = 2000
"""Rows of a data set that the doctor tokenizes: what one row in a hundred has is seen about twenty times."""
STEP = 8
"""Tokens by which a text is shortened again where its parts have other tokens than the whole."""


class Questions(Task[QuestionExample]):
    """What both ways have in common: the rows."""

    facts = FACTS[TaskName.QUESTION_ANSWERING]
    answers = ("answers",)

    def choose_columns(self, field: str, given: Columns, names: list[str], first: FirstRows | None) -> Layout:
        """Choose the columns that the job names, else well-known names."""
        return question_layout(given, names)

    def column_advice(self, layout: Layout, column: str, first: FirstRows) -> str:
        """Suggest columns with texts, the longest as the context."""
        return question_advice(layout, column, first)

    def read(self, row: Row) -> QuestionExample | Skipped:
        """Read the question, its context and its answers."""
        return question_in(row)

    def answered(self, values: Mapping[str, Any], layout: Layout, languages: Languages | None = None) -> dict[str, Any]:
        """Return the columns without answers, which a question may lack, and without what belongs to them."""
        return {name: value for name, value in values.items() if name not in OF_ANSWERS} | {layout.columns["answers"]: []}

    def vary(self, example: QuestionExample, change: Callable[[str], str]) -> QuestionExample:
        """Change the question; the answers are parts of the context."""
        return replace(example, question=change(example.question))


class WrittenAnswers(Questions):
    """Write the answer to a question about a text, or UNANSWERABLE: what both kinds of models that write have in common."""

    learned: bool = True
    """Whether the rows are learned: of a text that is too long these keep the part around the answer, which others must not know."""

    def on(self, side: str) -> Self:
        """Return the task for rows that are learned, or for others."""
        found = copy.copy(self)
        found.learned = side == TRAIN
        return found

    def shown(self, example: QuestionExample) -> str:
        """Return the question without its text."""
        return example.question

    def references(self, example: QuestionExample) -> tuple[str, ...]:
        """Return all right answers."""
        return tuple(answer.text for answer in example.answers) or (UNANSWERABLE,)

    def encode_all(self, examples: Iterable[QuestionExample], tokenizer: Any, max_length: int) -> Iterator[list[Piece[QuestionExample]]]:
        """Tokenize in batches, on all cores; a text that is too long is shortened, so that question and answer are not."""
        for (piece,) in super().encode_all(examples, tokenizer, max_length):
            yield [self._shortened(piece, tokenizer, max_length) if piece.tokens.truncated else piece]

    def _shortened(self, piece: Piece[QuestionExample], tokenizer: Any, max_length: int) -> Piece[QuestionExample]:
        """Return the piece with as much of the text as fits; as it is if even the question or the answer is too long."""
        if not self.learned and self.family is not ModelFamily.CAUSAL:
            return piece  # the text comes last, and has lost its end as it does where the model is asked
        (without,) = self._whole(replace(piece.example, context=""), tokenizer, max_length)
        room, before = max_length - len(without.tokens.read), None
        while room > 0:
            example = (shortened if self.learned else ending)(piece.example, tokenizer, room)
            if example.context == before and before != piece.example.context:
                return piece  # only the answer is left of the text
            (found,) = self._whole(example, tokenizer, max_length)
            if not found.tokens.truncated:
                return Piece(piece.example, found.tokens, note=f"{SHORTENED}\n{found.note}")
            room, before = room - STEP, example.context
        return piece

    def _whole(self, example: QuestionExample, tokenizer: Any, max_length: int) -> list[Piece[QuestionExample]]:
        (found,) = super().encode_all([example], tokenizer, max_length)
        return found


class AskedAnswers(WrittenAnswers, AskedText[QuestionExample]):
    """Write the answer when asked in a chat."""

    def question(self, example: QuestionExample) -> str:
        """Return the text and the question, which comes last: a prompt that is too long loses its beginning."""
        return f"Answer in a few words from this text:\n\n{example.context}\n\nQuestion: {example.question}"

    def wording(self, languages: tuple[str, str] | None, tokenizer: Any) -> str:
        """Return some question about a text."""
        return self.question(QuestionExample.of("", "…?", "{text}", ()))

    def findings(self, sides: Sequence[Sampled[QuestionExample]], tokenizer: Any) -> list[str]:
        """Report texts that were shortened, what is learned where there is no answer, and what chats are checked for."""
        return [*writing_findings(sides), *super().findings(sides, tokenizer)]


class ReadAnswers(WrittenAnswers, AnsweredText[QuestionExample]):
    """Write the answer to what an encoder reads."""

    def given(self, example: QuestionExample) -> str:
        """Return the question and the text, which comes last: what is too long loses its end. T5 learned questions in this form."""
        return f"question: {example.question} context: {example.context}"

    def wording(self, languages: tuple[str, str] | None, tokenizer: Any) -> str:
        """Return some question about a text."""
        return self.given(QuestionExample.of("", "…?", "{text}", ()))

    def findings(self, sides: Sequence[Sampled[QuestionExample]], tokenizer: Any) -> list[str]:
        """Report texts that were shortened, what is learned where there is no answer, and control-token names in texts."""
        return [*writing_findings(sides), *(finding for side in sides for finding in question_findings(side, tokenizer))]


class FoundAnswers(Questions):
    """Find the answer in the context, window by window, or say that it is not there."""

    family = ModelFamily.ENCODER
    cuts = True

    @property
    def objective(self) -> "SpanObjective":
        """First and last token of the answer; imports torch."""
        from trainer.objectives.span import SPAN, SPAN_OR_NONE

        return SPAN_OR_NONE if self.known else SPAN

    def knowing(self, train: Sequence[QuestionExample]) -> Self:
        """Learn whether questions may have no answer; raises InputError for answers that are not in their context."""
        lacking, elsewhere = 0, list[str]()
        for example in train:
            lacking += not example.answers
            if example.answers and example.span is None:
                elsewhere.append(example.origin)
        if elsewhere:
            rows = "1 row has an answer that is" if len(elsewhere) == 1 else f"{len(elsewhere)} rows have answers that are"
            fix = "write them as their texts have them or leave these rows out; a causal model could learn them"
            raise InputError("data.train", f"{rows} not a part of the text, so no model can find it there (the first: {elsewhere[0]})", fix)
        return self.with_known(tuple(MAY_LACK) if lacking else ())

    def recalling(self, configuration: "PreTrainedConfig") -> Self:
        """Return the task as the model was trained for it: questions may have no answer if some of its rows had none."""
        return self.with_known(tuple(name for name in MAY_LACK if name in (configuration.label2id or ())))

    def encode(self, example: QuestionExample, tokenizer: Any, max_length: int) -> list[Piece[QuestionExample]]:
        """Write question and context as a pair, in as many windows as the context needs."""
        return span_pieces(example, tokenizer, max_length)

    def part(self, piece: Piece[QuestionExample], tokenizer: Any) -> QuestionExample:
        """Return the example under the piece's id, so that the question of each window is varied independently."""
        return replace(piece.example, id=piece.tokens.id)

    def encode_part(self, piece: Piece[QuestionExample], varied: QuestionExample, tokenizer: Any, max_length: int) -> Sample:
        """Write the varied question with the same window of the context."""
        return varied_span(piece, varied, tokenizer, max_length)

    def count(self, examples: Sequence[QuestionExample], tokenizer: Any, max_length: int) -> PieceCount:
        """Count the windows; for many long texts, estimate from part of them."""
        return count_windows(examples, tokenizer, max_length)

    def request(self, example: QuestionExample, tokenizer: Any) -> Extract:
        """Ask for the answer, or none if some questions of the training rows have none."""
        references = tuple(answer.text for answer in example.answers) or ("",)
        return Extract(references, example.question, example.question, example.context, bool(self.known))

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Raise InputError for a tokenizer that writes no pairs of texts, or does not say where its tokens are."""
        form_of(tokenizer)

    def sampled(
        self, name: str, examples: Sequence[QuestionExample], tokenizer: Any, max_length: int, keep: Keep = in_memory
    ) -> Sampled[QuestionExample]:
        """Tokenize only a sample of the rows, spread evenly: their windows are in memory."""
        places = np.arange(min(SAMPLE_ROWS, len(examples))) * len(examples) // min(SAMPLE_ROWS, len(examples))
        chosen = [examples[place] for place in places.tolist()]
        pieces = [piece for example in chosen for piece in span_pieces(example, tokenizer, max_length)]
        return Sampled(name, len(examples), len(chosen), pieces)

    def findings(self, sides: Sequence[Sampled[QuestionExample]], tokenizer: Any) -> list[str]:
        """Report control-token names in texts, and answers that cannot be found; InputError if no training row has one that can."""
        return [
            finding for side in sides for finding in (*question_findings(side, tokenizer), *lost_answers(side, learned=side.name == TRAIN))
        ]


TASKS = (AskedAnswers(), ReadAnswers(), FoundAnswers())
