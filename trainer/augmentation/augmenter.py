"""Varies training texts anew in every epoch: of a chat the user's turns, never the answers; of a text the whole text.

Every choice is a function of (seed, epoch, example id), so a resumed run sees the same words. Tests:
tests/trainer/augmentation/test_augmenter.py.
"""

from dataclasses import replace

from finetune.api.errors import InputError
from finetune.api.sections import Augmentation, AugmentationOperation
from finetune.api.sources import FileSource
from trainer.augmentation.synonyms import Synonyms, read_dictionary, wordnet
from trainer.augmentation.words import Operation, cut, drop_words, join, make_typing_errors, replace_by_synonyms, swap_words
from trainer.data.files import path_of
from trainer.data.rows import Example
from trainer.data.sampler import random_for


class Augmenter:
    """Applies the operations of a job; raises InputError when the user's dictionary is faulty."""

    def __init__(self, augmentation: Augmentation, seed: int) -> None:
        self._share, self._seed = augmentation.augmented_share, seed
        self._operations = [
            _operation(f"augmentation.operations[{index}]", operation) for index, operation in enumerate(augmentation.operations)
        ]

    def augment(self, example: Example, epoch: int) -> tuple[Example, int, int]:
        """Return the example as this epoch sees it, how many of its words were changed, and how many words could have been.

        The id stays. `augmentedShare` of all examples are chosen, anew in each epoch; the others return as they are.
        """
        rng = random_for("augment", self._seed, epoch, example.id)
        chosen = rng.random() < self._share
        words_changed = words = 0

        def vary(text: str) -> str:
            nonlocal words_changed, words
            pieces = cut(text)
            words += sum(piece.is_word for piece in pieces)
            if not chosen:
                return text
            for operation in self._operations:
                operation(pieces, rng)
            words_changed += sum(piece.changed or piece.dropped for piece in pieces)
            return join(pieces) if any(piece.changed or piece.dropped for piece in pieces) else text

        if example.messages is None:
            varied = replace(example, text=vary(example.text or ""))
        else:
            turns = (replace(turn, content=vary(turn.content)) if turn.role == "user" else turn for turn in example.messages)
            varied = replace(example, messages=tuple(turns))
        return varied, words_changed, words


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
