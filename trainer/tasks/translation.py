"""Translation: the model says a text in another language. Each source of rows says from which language into which.

Tests: tests/trainer/tasks/test_conformance.py, tests/trainer/tasks/test_translation.py.
"""

from collections.abc import Mapping
from typing import Any

from finetune.api.columns import Columns
from finetune.api.tasks import TASKS as FACTS
from finetune.api.tasks import TaskName
from trainer.data.layout import FirstRows, Layout
from trainer.data.pairs import chosen, columns_advice
from trainer.data.reading import Languages, Row
from trainer.data.rows import Skipped
from trainer.tasks.answered import AnsweredPair
from trainer.tasks.base import SOME_ANSWER, Task, lacks_words
from trainer.tasks.pairs import AskedPair
from trainer.text.directions import direction_of
from trainer.text.languages import language_name, languages_of, pair_of
from trainer.text.pair import PairExample, references_of

BY_LANGUAGE = "translation"
"""A column with the texts of a row by their languages, as data sets on the hub have it."""
SOURCES, TARGETS = ("source", "src", "prompt", "input"), ("target", "tgt", "translation", "completion", "output")


class Translations(Task[PairExample]):
    """How rows of texts and their translations are read, whatever learns them."""

    facts = FACTS[TaskName.TRANSLATION]
    answers = ("target",)

    def choose_columns(self, field: str, given: Columns, names: list[str], first: FirstRows | None) -> Layout:
        """Choose the columns that the job names, else a column of texts by language, else well-known names."""
        if given.source is None and given.target is None and first is not None and first.holds_mappings(BY_LANGUAGE):
            return Layout({"source": BY_LANGUAGE, "target": BY_LANGUAGE}, guessed=True)
        return chosen({"source": given.source, "target": given.target}, {"source": SOURCES, "target": TARGETS}, names)

    def column_advice(self, layout: Layout, column: str, first: FirstRows) -> str:
        """Suggest the first two columns of text."""
        return columns_advice(("source", "target"), first)

    def read(self, row: Row) -> PairExample | Skipped:
        """Read the text and its translations."""
        row.refuse_meaning(answers=True)
        source, target = row.value("source"), row.value("target")
        if isinstance(source, Mapping) and isinstance(target, Mapping):
            source, target = _by_language(row, source)
        words = "" if source is None else row.text("source", repr(row.layout.columns["source"]), source)
        if not words.strip():
            return Skipped(row.layout.columns["source"])
        references = references_of(row, "target", target)
        return references if isinstance(references, Skipped) else PairExample.of(row.origin, words, references, pair_of(row.languages))

    def answered(self, values: Mapping[str, Any], layout: Layout, languages: Languages | None = None) -> dict[str, Any]:
        """Return the same, also where a column of texts by language has none in the one that is written."""
        found, column = super().answered(values, layout, languages), layout.columns["target"]
        texts = found.get(column)
        if languages is None or not isinstance(texts, Mapping) or not lacks_words(texts.get(languages[1])):
            return found
        return {**found, column: {**texts, languages[1]: SOME_ANSWER}}


class AskedTranslation(AskedPair[PairExample], Translations):
    """Say a text in another language, when asked to."""

    def question(self, example: PairExample) -> str:
        """Return the instruction with the text."""
        languages = languages_of(example.languages)
        if languages is None:
            return f"Translate:\n\n{example.given}"
        source, target = map(language_name, languages)
        return f"Translate from {source} to {target}:\n\n{example.given}"

    def wording(self, languages: tuple[str, str] | None, tokenizer: Any) -> str:
        """Return the question for a text in these languages."""
        return self.question(PairExample.of("", "{text}", ("",), pair_of(languages)))


class AnsweredTranslation(AnsweredPair[PairExample], Translations):
    """Say a text in another language; which ones, the model is told as its tokenizer does it."""

    def wording(self, languages: tuple[str, str] | None, tokenizer: Any) -> str | None:
        """Return the text after the words that name the languages; None for a tokenizer that has tokens for them."""
        direction = direction_of(pair_of(languages), tokenizer, "data.train")
        return None if direction.source is not None else f"{direction.prefix}{{text}}"


def _by_language(row: Row, texts: Mapping[str, Any]) -> tuple[Any, Any]:
    if row.languages is None:
        fix = f"give the source sourceLanguage and targetLanguage; the row has {', '.join(map(str, texts))}"
        raise row.fault("source", f"{BY_LANGUAGE!r} holds a text for each language", fix)
    for language in row.languages:
        if language not in texts:
            fix = f"give sourceLanguage and targetLanguage as the rows call them: {', '.join(map(str, texts))}"
            raise row.fault("source", f"{BY_LANGUAGE!r} has no text for {language!r}", fix)
    source, target = row.languages
    return texts[source], texts[target]


TASKS = (AskedTranslation(), AnsweredTranslation())
