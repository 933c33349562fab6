"""The section of a job that says how training texts are varied. The trainer reads it as the user wrote it, but for the path of a table.

A sentence under each field is its documentation: it appears in the CRD and so in `kubectl explain`. Tests:
tests/finetune/api/test_schema.py, tests/integration/test_malformed_jobs.py.
"""

from typing import Annotated

from pydantic import Field

from finetune.api.base import WireModel, exactly_one
from finetune.api.sources import FileSource

Probability = Annotated[float, Field(ge=0, le=1)]


class SynonymReplacement(WireModel):
    """Replace words by WordNet synonyms (after Wei and Zou 2019, arXiv:1901.11196)."""

    probability: Probability = Field(0.1, description="Chance of each word that has a synonym.")
    dictionary: FileSource | None = Field(
        None,
        description="Own table: one line per word: the word, a tab, and its synonyms separated by commas. Default: WordNet.",
    )


class WordDropout(WireModel):
    """Leave words out."""

    probability: Probability = Field(0.05, description="Chance of each word; one word always stays.")


class WordSwap(WireModel):
    """Swap a word with the one after it."""

    probability: Probability = Field(0.05, description="Chance of each word.")


class CharacterNoise(WireModel):
    """Insert, delete, replace or swap a character, as typing errors do."""

    probability: Probability = Field(0.02, description="Chance of each letter; numbers are left alone.")


class AugmentationOperation(WireModel):
    """One way of changing a text; operations are applied in the order of the list."""

    synonym_replacement: SynonymReplacement | None = Field(None, description="Replace words by synonyms.")
    word_dropout: WordDropout | None = Field(None, description="Leave words out.")
    word_swap: WordSwap | None = Field(None, description="Swap neighboring words.")
    character_noise: CharacterNoise | None = Field(None, description="Make typing errors.")

    rules = (exactly_one("synonym_replacement", "word_dropout", "word_swap", "character_noise", what="augmentation.operations"),)


class Augmentation(WireModel):
    """Change training texts differently in every epoch: the user's turns of a chat, never the answers; all of a plain text."""

    operations: list[AugmentationOperation] = Field(min_length=1, max_length=16, description="What is done to a text, in order.")
    augmented_share: Probability = Field(0.3, description="Share of the training rows that are changed in an epoch.")
