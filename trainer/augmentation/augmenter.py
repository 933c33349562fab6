"""Varies training texts in every epoch; the task decides which parts of an example may change.

Every choice is a function of (seed, epoch, example id), so a resumed run sees the same words. Tests:
tests/trainer/augmentation/test_augmenter.py.
"""

from collections.abc import Callable
from typing import Any

from finetune.api.augmentation import Augmentation, AugmentationOperation
from finetune.api.errors import InputError
from finetune.api.sources import FileSource
from trainer.augmentation.synonyms import Synonyms, read_dictionary, wordnet
from trainer.augmentation.words import Operation, cut, drop_words, join, make_typing_errors, replace_by_synonyms, swap_words
from trainer.data.files import path_of
from trainer.data.rows import E, Piece, Sample
from trainer.data.sampler import random_for
from trainer.tasks.base import Task


class Augmenter:
    """Applies the operations of a job; raises InputError if the user's dictionary is invalid."""

    def __init__(self, augmentation: Augmentation, seed: int) -> None:
        self._share, self._seed = augmentation.augmented_share, seed
        self._operations = [
            _operation(f"augmentation.operations[{index}]", operation) for index, operation in enumerate(augmentation.operations)
        ]

    def sample(self, task: Task[E], piece: Piece[E], epoch: int, tokenizer: Any, max_length: int) -> tuple[Sample, int, int]:
        """Return the sample of a piece in an epoch, the number of its words that were changed, and the number of its words.

        The changes are a function of (seed, epoch, id of the piece). A piece without changes keeps its tokens; one that becomes
        longer than `max_length` is truncated.
        """
        varied, changed, words = self.augment(task.part(piece, tokenizer), epoch, task.vary)
        if changed == 0:
            return piece.tokens, changed, words
        return task.encode_part(piece, varied, tokenizer, max_length), changed, words

    def augment(self, example: E, epoch: int, vary: Callable[[E, Callable[[str], str]], E]) -> tuple[E, int, int]:
        """Return the example as varied in an epoch, the number of words changed, and the number of words that may change.

        `vary` applies a change to the texts of an example that may be varied: see `Task.vary`. The id stays the same. Each
        epoch makes a new choice of `augmentedShare` of all examples; the others are returned unchanged.
        """
        rng = random_for("augment", self._seed, epoch, example.id)
        chosen = rng.random() < self._share
        words_changed = words = 0

        def change(text: str) -> str:
            nonlocal words_changed, words
            pieces = cut(text)
            words += sum(piece.is_word for piece in pieces)
            if not chosen:
                return text
            for operation in self._operations:
                operation(pieces, rng)
            words_changed += sum(piece.changed or piece.dropped for piece in pieces)
            return join(pieces) if any(piece.changed or piece.dropped for piece in pieces) else text

        return vary(example, change), words_changed, words


def _operation(field: str, operation: AugmentationOperation) -> Operation:
    if operation.synonym_replacement is not None:
        synonyms = operation.synonym_replacement
        return replace_by_synonyms(_table(f"{field}.synonymReplacement.dictionary", synonyms.dictionary), synonyms.probability)
    if operation.word_dropout is not None:
        return drop_words(operation.word_dropout.probability)
    if operation.word_swap is not None:
        return swap_words(operation.word_swap.probability)
    if operation.character_noise is not None:
        return make_typing_errors(operation.character_noise.probability)
    raise InputError(field, "names no operation", "give synonymReplacement, wordDropout, wordSwap or characterNoise")


def _table(field: str, dictionary: FileSource | None) -> Synonyms:
    if dictionary is None:
        return wordnet()
    return read_dictionary(field, path_of(field, dictionary))
