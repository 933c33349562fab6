"""The section of a job that says how training texts are varied. The trainer reads it as the user wrote it, but for the places of tables
and models, which become paths.

A sentence under each field is its documentation: it appears in the CRD and so in `kubectl explain`. Tests:
tests/finetune/api/test_augmentation.py, tests/finetune/api/test_schema.py, tests/integration/test_malformed_jobs.py.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from finetune.api.base import Rule, WireModel, at_most_one, exactly_one
from finetune.api.sources import FileSource, Initialization, ModelSource

Probability = Annotated[float, Field(ge=0, le=1)]
USUAL_SHARE = 0.3
"""Share of the rows that are rewritten where a job says neither that nor how many copies it wants."""
MOST_COPIES = 16


class NoiseKind(StrEnum):
    """Whose errors are made."""

    RANDOM = "random"
    KEYBOARD = "keyboard"
    OCR = "ocr"


class SwapKind(StrEnum):
    """Which words change places."""

    NEIGHBORS = "neighbors"
    ANY = "any"


class Synonyms(WireModel):
    """Where synonyms come from."""

    dictionary: FileSource | None = Field(
        None,
        description="Own table, in any language: one line per word: the word, a tab, and its synonyms separated by commas; or a file of"
        " the Open Multilingual Wordnet (.tab), whose words of several meanings are left alone."
        " Default: English words of WordNet with one dominant meaning, about one in 70 of a text.",
    )


class SynonymReplacement(Synonyms):
    """Replace words by WordNet synonyms (after Wei and Zou 2019, arXiv:1901.11196)."""

    probability: Probability = Field(0.1, description="Chance of each word that has a synonym.")


class WordInsertion(Synonyms):
    """Insert synonyms of words at other places (Wei and Zou 2019, arXiv:1901.11196)."""

    probability: Probability = Field(0.05, description="Chance of each word that has a synonym; one is put before a random word.")


class WordDropout(WireModel):
    """Leave words out."""

    probability: Probability = Field(0.05, description="Chance of each word; one word always stays.")


class WordSwap(WireModel):
    """Swap a word with another one."""

    probability: Probability = Field(0.05, description="Chance of each word.")
    kind: SwapKind = Field(SwapKind.NEIGHBORS, description="neighbors: with the word after it; any: with any word of the text.")


class PunctuationInsertion(WireModel):
    """Insert punctuation marks between words (AEDA, Karimi et al. 2021, arXiv:2108.13230)."""

    probability: Probability = Field(0.15, description="Chance of each word: one of . ; ? : ! , is put before it.")


class CharacterNoise(WireModel):
    """Insert, delete, replace or swap a character, as typing errors do, or confuse characters as a scanner does."""

    probability: Probability = Field(0.02, description="Chance of each letter; numbers are left alone.")
    kind: NoiseKind = Field(
        NoiseKind.RANDOM,
        description="random: typing errors with any letter; keyboard: with letters beside it on a QWERTY keyboard;"
        " ocr: characters that look alike (rn and m, O and 0, l and 1).",
    )


PLACEHOLDER = "{text}"
"""Stands for the text in a prompt."""
REWRITING_PROMPT = (
    "Rewrite the following text in other words. Keep its meaning, its language, and all names and numbers."
    " Answer with the rewritten text alone. The text: {text}"
)


def _no_token(name: str) -> Rule:
    return Rule(
        f"!has(self.{name}.tokenSecret)",
        lambda operation: getattr(operation, name).token_secret is None,
        f"{name}.tokenSecret: the token of spec.model.tokenSecret is used; remove it here",
    )


def _no_job(name: str) -> Rule:
    return Rule(
        f"!has(self.{name}.fineTuneJob)",
        lambda operation: getattr(operation, name).fine_tune_job is None,
        f"{name}.fineTuneJob: name the exported folder as persistentVolumeClaim or path instead",
    )


def _trained(name: str) -> Rule:
    return Rule(
        f"self.{name}.initialization != 'random'",
        lambda operation: getattr(operation, name).initialization is not Initialization.RANDOM,
        f"{name}.initialization: a model with random weights writes nothing of use; remove it",
    )


class Rewriting(WireModel):
    """Replace whole texts by what a model wrote before training began."""

    variants: Annotated[int, Field(ge=1, le=8)] = Field(2, description="Texts that are written for each one, of which one is drawn.")
    max_new_tokens: Annotated[int, Field(ge=1, le=4096)] = Field(
        128, description="Tokens of a written text, at most; one that reaches them is left out."
    )
    temperature: Annotated[float, Field(gt=0, le=5)] = Field(0.8, description="How freely the model writes.")
    probability: Probability = Field(0.5, description="Chance of each text that has a variant.")


class Paraphrase(Rewriting):
    """Replace whole texts by what a model wrote in other words before training began."""

    model: ModelSource = Field(description="The model that writes: one that follows instructions, or an encoder-decoder.")
    prompt: str = Field(REWRITING_PROMPT, min_length=1, max_length=4096, description="What the model is told, with {text} in it.")

    rules = (
        Rule(
            "self.prompt.contains('{text}')",
            lambda paraphrase: PLACEHOLDER in paraphrase.prompt,
            "paraphrase.prompt: has no {text}, which stands for the text to rewrite; add it",
        ),
        _no_token("model"),
        _no_job("model"),
        _trained("model"),
    )


class BackTranslation(Rewriting):
    """Replace whole texts by their translation into another language and back, made before training began."""

    there: ModelSource = Field(
        description="An encoder-decoder that translates from the language of the texts into another one: a single-direction model"
        " (such as Marian); T5, mBART, M2M100 and NLLB are refused."
    )
    back: ModelSource = Field(description="A single-direction encoder-decoder that translates back.")

    rules = tuple(rule(name) for name in ("there", "back") for rule in (_no_token, _no_job, _trained))


OPERATIONS = (
    "synonym_replacement", "word_insertion", "word_dropout", "word_swap", "punctuation_insertion", "character_noise", "paraphrase",
    "back_translation",
)  # fmt: skip
"""Members of an operation; one is given."""


class AugmentationOperation(WireModel):
    """One way of changing a text; operations are applied in the order of the list."""

    synonym_replacement: SynonymReplacement | None = Field(None, description="Replace words by synonyms.")
    word_insertion: WordInsertion | None = Field(None, description="Insert synonyms of words.")
    word_dropout: WordDropout | None = Field(None, description="Leave words out.")
    word_swap: WordSwap | None = Field(None, description="Swap words.")
    punctuation_insertion: PunctuationInsertion | None = Field(None, description="Insert punctuation marks.")
    character_noise: CharacterNoise | None = Field(None, description="Make typing errors, or those of a scanner.")

    paraphrase: Paraphrase | None = Field(
        None, description="Replace whole texts by paraphrases of a model. Comes before other operations. Not for language-modeling."
    )
    back_translation: BackTranslation | None = Field(
        None, description="Replace whole texts by translations there and back. Comes before other operations. Not for language-modeling."
    )

    rules = (exactly_one(*OPERATIONS, what="augmentation.operations"),)

    @property
    def name(self) -> str:
        """The operation's name on the wire."""
        fields = type(self).model_fields
        return next(str(fields[name].alias) for name in OPERATIONS if getattr(self, name) is not None)

    @property
    def rewriting(self) -> Paraphrase | BackTranslation | None:
        """How a model writes the variants of whole texts; None for an operation without a model."""
        return self.paraphrase or self.back_translation

    def models(self) -> Iterator[tuple[str, ModelSource]]:
        """Yield the models that write, by the member that names them, in the order in which they are used."""
        if self.paraphrase is not None:
            yield "model", self.paraphrase.model
        if self.back_translation is not None:
            yield "there", self.back_translation.there
            yield "back", self.back_translation.back

    @property
    def synonyms(self) -> Synonyms | None:
        """Where its synonyms come from; None for an operation without any."""
        return self.synonym_replacement or self.word_insertion


Phrase = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"\S")]


class Augmentation(WireModel):
    """Change training texts, of each task those that the description of the job's field names."""

    operations: list[AugmentationOperation] = Field(min_length=1, max_length=16, description="What is done to a text, in order.")
    augmented_share: Probability | None = Field(
        None,
        description="Share of the training rows that are changed in an epoch, in place of the rows as they are."
        f" Default: {USUAL_SHARE}, without copiesPerRow.",
    )
    copies_per_row: Annotated[int, Field(ge=1, le=MOST_COPIES)] | None = Field(
        None,
        description="Changed copies of each training row, beside the row as it is: an epoch has the rows times copiesPerRow + 1.",
    )
    protected: list[Phrase] | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="Words and phrases that are never changed, in upper or lower case,"
        " beside what never is: numbers, addresses, placeholders, code (marked as such, or a path, a name in snake_case or camelCase, a"
        " call), and words that negate in English, German, Dutch, Swedish, Danish, Norwegian, French, Spanish, Portuguese, Italian, Polish,"
        " Russian or Finnish.",
    )

    rules = (at_most_one("augmented_share", "copies_per_row", what="augmentation"),)

    @property
    def share(self) -> float | None:
        """The share of the rows that are changed in place; None where copies stand beside them."""
        if self.copies_per_row is not None:
            return None
        return USUAL_SHARE if self.augmented_share is None else self.augmented_share

    def in_effect(self) -> "Augmentation":
        """Return the section with the share that a job has which says nothing of it."""
        return self.model_copy(update={"augmented_share": self.share})

    @property
    def row_versions(self) -> int:
        """How often an epoch has each row: once, and its copies."""
        return 1 + (self.copies_per_row or 0)

    def models(self) -> Iterator[tuple[int, str, str, ModelSource]]:
        """Yield index, member, field and place of each model that writes variants of texts."""
        for index, operation in enumerate(self.operations):
            for member, model in operation.models():
                yield index, member, f"augmentation.operations[{index}].{operation.name}.{member}", model

    def dictionaries(self) -> Iterator[tuple[int, str, FileSource]]:
        """Yield index, field and place of each operation's own table of synonyms."""
        for index, operation in enumerate(self.operations):
            if operation.synonyms is not None and operation.synonyms.dictionary is not None:
                yield index, f"augmentation.operations[{index}].{operation.name}.dictionary", operation.synonyms.dictionary
